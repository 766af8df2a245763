import Glibc
import Support

/// A library of the system that only those need who read sound: opened when it is first used.
struct SoundLibrary: Sendable {
    /// What it is called, for error sentences.
    let name: String
    /// The file that the loader looks for.
    let file: String
    /// The package of Debian that has it.
    let package: String
    /// What cannot be done without it: "to read sound files".
    let purpose: String

    static let sndfile = SoundLibrary(
        name: "libsndfile", file: "libsndfile.so.1", package: "libsndfile1", purpose: "to read sound files")
    static let samplerate = SoundLibrary(
        name: "libsamplerate", file: "libsamplerate.so.0", package: "libsamplerate0",
        purpose: "to change the sampling rate of sound")
    static let kissfft = SoundLibrary(
        name: "kissfft", file: "libkissfft-float.so.131", package: "libkissfft-float131",
        purpose: "to make features of sound")

    /// Functions of the library by name, once all are there.
    ///
    /// Throws `SeamError(.notFound)` where the library cannot be opened or lacks one.
    func functions<each Function>(_ names: repeat (String, (each Function).Type)) throws -> (repeat each Function) {
        guard let handle = dlopen(file, RTLD_NOW | RTLD_LOCAL) else {
            throw missing(String(cString: dlerror()))
        }
        func function<One>(_ name: String, _ type: One.Type) throws -> One {
            guard let address = dlsym(handle, name) else { throw missing("it has no function \(name)") }
            return unsafeBitCast(address, to: type)
        }
        return (repeat try function((each names).0, (each names).1))
    }

    private func missing(_ reason: String) -> SeamError {
        SeamError(
            .notFound,
            "\(purpose), \(name) is needed, which could not be opened (\(reason)): install Debian's package \(package)")
    }
}
