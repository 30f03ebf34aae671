"""The DevTools methods that a tunnel passes to the browser unless its policy names others."""

from __future__ import annotations

from typing import Final

BROWSER_DOMAINS: Final = frozenset(
    ("Browser", "Extensions", "IO", "Storage", "SystemInfo", "Target", "Tethering", "Tracing")
)
"""The domains of the browser itself; commands of the others belong to a page."""

_ALLOWED: Final[dict[str, str]] = {
    "Accessibility": """
        disable enable getAXNodeAndAncestors getChildAXNodes getFullAXTree getPartialAXTree
        getRootAXNode queryAXTree
    """,
    "Browser": "close getVersion",
    "CSS": """
        disable enable forcePseudoState getBackgroundColors getComputedStyleForNode
        getInlineStylesForNode getMatchedStylesForNode getPlatformFontsForNode getStyleSheetText
    """,
    "Console": "clearMessages disable enable",
    "DOM": """
        collectClassNamesFromSubtree describeNode disable discardSearchResults enable focus
        getAttributes getBoxModel getContainerForNode getContentQuads getDocument
        getFlattenedDocument getFrameOwner getNodeForLocation getOuterHTML getRelayoutBoundary
        getSearchResults getTopLayerElements performSearch pushNodesByBackendIdsToFrontend
        querySelector querySelectorAll removeAttribute removeNode requestChildNodes requestNode
        resolveNode scrollIntoViewIfNeeded setAttributeValue setAttributesAsText setFileInputFiles
        setNodeValue setOuterHTML
    """,
    "DOMDebugger": "getEventListeners",
    "DOMSnapshot": "captureSnapshot disable enable getSnapshot",
    "Emulation": """
        canEmulate clearDeviceMetricsOverride clearGeolocationOverride
        setDefaultBackgroundColorOverride setDeviceMetricsOverride setEmulatedMedia
        setFocusEmulationEnabled setGeolocationOverride setLocaleOverride setScrollbarsHidden
        setTimezoneOverride setTouchEmulationEnabled setUserAgentOverride setVisibleSize
    """,
    "Input": """
        cancelDragging dispatchDragEvent dispatchKeyEvent dispatchMouseEvent dispatchTouchEvent
        emulateTouchFromMouseEvent imeSetComposition insertText setIgnoreInputEvents
        setInterceptDrags synthesizePinchGesture synthesizeScrollGesture synthesizeTapGesture
    """,
    "Inspector": "disable enable",
    "Log": "clear disable enable",
    "Network": """
        disable enable getCookies getRequestPostData getResponseBody searchInResponseBody
        setCacheDisabled
    """,
    "Page": """
        addScriptToEvaluateOnNewDocument bringToFront captureScreenshot captureSnapshot close
        createIsolatedWorld disable enable getFrameTree getLayoutMetrics getNavigationHistory
        getResourceContent getResourceTree handleJavaScriptDialog navigate navigateToHistoryEntry
        printToPDF reload removeScriptToEvaluateOnNewDocument resetNavigationHistory
        searchInResource setDocumentContent setInterceptFileChooserDialog
        setLifecycleEventsEnabled stopLoading
    """,
    "Performance": "disable enable getMetrics",
    "Runtime": """
        awaitPromise callFunctionOn compileScript disable discardConsoleEntries enable evaluate
        getExceptionDetails getHeapUsage getIsolateId getProperties globalLexicalScopeNames
        queryObjects releaseObject releaseObjectGroup runIfWaitingForDebugger runScript
        terminateExecution
    """,
    "Target": """
        activateTarget attachToTarget closeTarget createTarget detachFromTarget getTargetInfo
        getTargets
    """,
}

DEFAULT_METHODS: Final = frozenset(
    f"{domain}.{method}" for domain, methods in _ALLOWED.items() for method in methods.split()
)
"""Navigation, reading and changing pages, input, scripts, screenshots, reading the network log."""
