/// The version of SeamKit, the one place where it is written.
public let seamVersion: StaticString = "0.1.0"
