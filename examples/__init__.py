"""Case studies: agents that Plimsoll hardens, each with the world that it acts on."""
