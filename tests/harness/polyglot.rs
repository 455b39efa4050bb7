//! Owns programs in other languages: built by the commands that stand in the README beside them, cached
//! in `target/components`, started and ended. Must not know: what they are for.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use bellwether::name::Version;
use tempfile::TempDir;

use super::install::components;
use super::process::Process;
use super::programs::eventually;

/// What the commands make; whoever has run them by hand has these beside the sources.
const MADE: [&str; 7] = [
    ".venv",
    "__pycache__",
    "node_modules",
    "stubs",
    "target",
    "client",
    "caller",
];

/// A language, and what must be installed for it.
#[derive(Debug)]
pub struct Language {
    /// The heading in the README.
    pub name: &'static str,
    /// The folder beside the README.
    pub folder: &'static str,
    tools: &'static [&'static str],
}

pub const PYTHON: Language = Language {
    name: "Python",
    folder: "python",
    tools: &["python3"],
};

pub const GO: Language = Language {
    name: "Go",
    folder: "go",
    tools: &["go"],
};

pub const NODE: Language = Language {
    name: "Node.js",
    folder: "node",
    tools: &["node", "npm"],
};

pub const JAVA: Language = Language {
    name: "Java",
    folder: "java",
    tools: &["java", "javac", "mvn"],
};

/// One test for each language, of an async function that takes it.
macro_rules! in_every_language {
    ($($test:ident),+) => {
        $(mod $test {
            use crate::harness::polyglot::{GO, JAVA, NODE, PYTHON};

            #[tokio::test(flavor = "multi_thread")]
            async fn python() {
                super::$test(&PYTHON).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn go() {
                super::$test(&GO).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn node() {
                super::$test(&NODE).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn java() {
                super::$test(&JAVA).await;
            }
        })+
    };
}
pub(crate) use in_every_language;

/// Whether a program can be tried here.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Try,
    /// Not here, and somebody must be told.
    Skip(String),
    /// Not here, where everything has to be tried.
    Fail(String),
}

/// `has` knows what is installed; `ci` is the environment variable of that name.
fn verdict(what: &str, tools: &[&str], has: impl Fn(&str) -> bool, ci: Option<&str>) -> Verdict {
    let missing: Vec<&str> = tools.iter().copied().filter(|tool| !has(tool)).collect();
    if missing.is_empty() {
        return Verdict::Try;
    }
    let text = format!(
        "not tried: {what}, because {} is not installed",
        missing.join(", ")
    );
    match ci {
        Some("true") => Verdict::Fail(text),
        _ => Verdict::Skip(text),
    }
}

fn is_installed(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(tool).is_file())
}

/// A program that is ready to run.
#[derive(Clone, Debug)]
pub struct Built {
    folder: PathBuf,
    /// The last command of its README.
    run: String,
}

/// Builds the program in `FOLDER/LANGUAGE`, or finds it built; its commands find the folders `besides`
/// where they are in the repository. `None` where its language is not installed, which is said on the
/// terminal; with `CI=true` it is a failure.
pub fn build(folder: &str, besides: &[&str], language: &Language) -> Option<Built> {
    let what = format!("{folder}/{}", language.folder);
    let ci = std::env::var("CI").ok();
    match verdict(&what, language.tools, is_installed, ci.as_deref()) {
        Verdict::Try => {}
        Verdict::Fail(text) => panic!("{text}"),
        Verdict::Skip(text) => {
            // Not by a macro: what those print, the test runner keeps to itself.
            let _ = writeln!(std::io::stderr(), "{text}");
            return None;
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join(folder).join("README.md")).expect("it is documented");
    let commands = commands(&readme, language.name);
    let (run, make) = commands.split_last().expect("a command that runs it");
    let (enter, make) = make
        .split_first()
        .expect("a command that enters its folder");
    assert_eq!(*enter, format!("cd {}", language.folder));

    let files = sources(root, &[besides, &[&what]].concat());
    let mut content = commands.join("\n").into_bytes();
    for file in &files {
        content.extend(file.as_os_str().as_encoded_bytes());
        content.extend(fs::read(root.join(file)).expect("a source can be read"));
    }
    let name = what.replace('/', "-");
    let home = components().join(&name);
    fs::create_dir_all(&home).expect("target/components can be written");
    // Other test threads and other test runs want it too: one builds, the rest wait.
    let lock = File::create(home.join(".lock")).expect("target/components can be written");
    lock.lock()
        .expect("a file in target/components can be locked");
    let copy = home.join(Version::of(&content).to_string());
    let done = copy.join(".built");
    if !done.is_file() {
        forget_others(&home);
        for file in &files {
            let to = copy.join(file);
            fs::create_dir_all(to.parent().expect("it is in a folder")).expect("a folder is made");
            fs::copy(root.join(file), to).expect("a source can be copied");
        }
        make_it(&what, &make.join("\n"), &copy.join(&what));
        File::create(done).expect("target/components can be written");
    }
    Some(Built {
        folder: copy.join(what),
        run: (*run).to_owned(),
    })
}

/// The commands in the section of a language.
fn commands<'a>(readme: &'a str, language: &str) -> Vec<&'a str> {
    let heading = format!("\n## {language}\n");
    let section = readme.split_once(&heading).expect("it has a section").1;
    let block = section.split_once("\n```sh\n").expect("it has commands").1;
    block
        .split_once("\n```")
        .expect("they end")
        .0
        .lines()
        .collect()
}

/// Files in these folders, without what was made of them, sorted.
fn sources(root: &Path, folders: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = folders.iter().map(PathBuf::from).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder)).expect("a folder of ours can be read") {
            let entry = entry.expect("a folder of ours can be read");
            let name = entry.file_name();
            if MADE.iter().any(|made| name == *made) {
                continue;
            }
            match entry.path().is_dir() {
                true => folders.push(folder.join(name)),
                false => found.push(folder.join(name)),
            }
        }
    }
    found.retain(|file| !file.starts_with("proto/src"));
    found.sort();
    found
}

/// Removes builds of earlier sources, and what a build left that did not end.
fn forget_others(home: &Path) {
    for entry in fs::read_dir(home).expect("target/components can be read") {
        let path = entry.expect("target/components can be read").path();
        if path.is_dir() {
            fs::remove_dir_all(path).expect("a folder of ours can be removed");
        }
    }
}

fn make_it(what: &str, commands: &str, folder: &Path) {
    let output = Command::new("sh")
        .args(["-euc", commands])
        .current_dir(folder)
        .output()
        .expect("sh can be run");
    assert!(
        output.status.success(),
        "can't build {what}: {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}

/// A program that runs.
#[derive(Debug)]
pub struct Program {
    process: Process,
    folder: TempDir,
}

impl Built {
    /// Runs it with these arguments, and more of the environment.
    pub fn start(&self, args: &[&str], environment: &[(&str, &str)]) -> Program {
        let folder = tempfile::tempdir().unwrap();
        // `env`, because the command may begin with variables.
        let script = format!("cd \"$0\" && exec env {} \"$@\"", self.run);
        let mut all: Vec<String> = environment
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        all.extend(["sh".to_owned(), "-c".to_owned(), script]);
        all.push(self.folder.display().to_string());
        all.extend(args.iter().map(ToString::to_string));
        let process = Process::start(Path::new("env"), &all, &folder.path().join("log"));
        Program { process, folder }
    }
}

impl Program {
    /// All that it has said.
    pub fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Waits until it has said a line that begins like this, after `from` lines; how many it had said then.
    pub async fn says(&self, from: usize, start: &str) -> usize {
        eventually(&format!("{start:?} in what it says"), || async {
            let said = self.said();
            let at = said
                .lines()
                .skip(from)
                .position(|line| line.starts_with(start));
            assert!(
                at.is_some() || !self.process.has_ended(),
                "it ended before it said {start:?}:\n{said}"
            );
            at.map(|at| from + at + 1)
        })
        .await
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// SIGTERM. All that it said, and its exit code.
    pub async fn terminate(self) -> (String, Option<i32>) {
        self.process.signal("TERM");
        eventually("the program to end", || async {
            self.process.has_ended().then_some(())
        })
        .await;
        let said = self.said();
        (said, self.process.exit_code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No skip in silence: it is said, and where everything has to be tried it is a failure.
    #[test]
    fn a_program_without_its_toolchain_is_named_or_fails() {
        let has = |tool: &str| tool != "mvn";
        let judge = |tools, ci| verdict("examples/clients/java", tools, has, ci);
        let all = &["java", "mvn"][..];
        let text = "not tried: examples/clients/java, because mvn is not installed".to_owned();
        assert_eq!(judge(all, None), Verdict::Skip(text.clone()));
        assert_eq!(judge(all, Some("false")), Verdict::Skip(text.clone()));
        assert_eq!(judge(all, Some("true")), Verdict::Fail(text));
        assert_eq!(judge(&["java"], Some("true")), Verdict::Try);
        assert_eq!(judge(&["java"], None), Verdict::Try);
    }

    #[test]
    fn what_is_installed_is_found() {
        assert!(is_installed("sh"));
        assert!(!is_installed("no-such-tool"));
    }

    #[test]
    fn commands_stand_under_their_heading() {
        let readme = "# A\n\n## Go\n\n```sh\ncd go\n./a\n```\n\n## Java\n\nText.\n\n```sh\ncd java\n./b\n```\n";
        assert_eq!(commands(readme, "Go"), ["cd go", "./a"]);
        assert_eq!(commands(readme, "Java"), ["cd java", "./b"]);
    }
}
