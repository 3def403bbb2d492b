package loader

// Version is the program's version, sent as context.integration.version.
const Version = "0.1.0"
