"""A daemon that gives the agent jobs out of a spool folder, and loses none.

python -m examples.daemon --demo              with the bundled server and a folder of its own
python -m examples.daemon /var/spool/agent    with the server at MIX_SERVER_URL, or port 8088

Put a prompt into ``inbox/NAME.txt``: write it elsewhere and rename it, so that it is never seen
half. Its answer comes as ``done/NAME.json``; what the agent gave up as ``failed/NAME.json``; and
where nobody can tell whether it ran, ``doubt/NAME.json`` says so. README.md tells the whole story:
signals, health, metrics, what happens when.
"""
