"""A daemon that runs jobs from a spool folder, and loses none.

python -m examples.daemon --demo              with the bundled server and a folder of its own
python -m examples.daemon /var/spool/agent    with the server at MIX_SERVER_URL, or port 8088

Put a prompt into ``inbox/NAME.txt``: write it elsewhere and rename it, so that it is never read
half. Its answer is written to ``done/NAME.json``, a failure to ``failed/NAME.json``, and a job that
may have run, without proof, to ``doubt/NAME.json``. README.md describes signals, health checks,
metrics, and what happens when something fails.
"""
