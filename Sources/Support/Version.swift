/// The version of SeamKit; the Python package has it a second time, which a test compares.
public let seamVersion: StaticString = "0.1.0"
