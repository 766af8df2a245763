import SeamPlugin
