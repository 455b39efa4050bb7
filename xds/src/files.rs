//! Owns values that are made of files, and made anew when the files change. Must not know: what is in
//! them.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{error, info};

/// How often the files are looked at. They are small, and whoever changes one waits for it.
const LOOK: Duration = Duration::from_secs(1);

/// Why there is no value.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A file can't be read.
    #[error("can't read {}: {reason}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// What is in the files is no good.
    #[error("{}: {reason}", names(files))]
    Bad {
        /// Which.
        files: Vec<PathBuf>,
        /// What is wrong.
        reason: String,
    },
}

fn names(files: &[PathBuf]) -> String {
    let names: Vec<_> = files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    names.join(", ")
}

/// Makes a value of the contents of files, and goes on to make it anew when they change for as long as
/// anybody holds the receiver. What is no good is said in the log, and changes nothing.
///
/// # Errors
/// There is no first value.
pub async fn follow<T: Send + Sync + 'static, E: Display + 'static>(
    files: Vec<PathBuf>,
    make: impl Fn(&[Vec<u8>]) -> Result<T, E> + Send + 'static,
) -> Result<watch::Receiver<Arc<T>>, FileError> {
    let (maker, reader) = Maker::new(files, &make).await?;
    tokio::spawn(maker.run(make));
    Ok(reader)
}

struct Maker<T> {
    files: Vec<PathBuf>,
    /// What the value in force was made of.
    taken: Vec<Vec<u8>>,
    /// What was there at the last look, if it is something else.
    seen: Option<Vec<Vec<u8>>>,
    /// What was no good the last time, and whether that was said.
    refused: Option<(String, bool)>,
    values: watch::Sender<Arc<T>>,
}

impl<T> Maker<T> {
    async fn new<E: Display>(
        files: Vec<PathBuf>,
        make: &impl Fn(&[Vec<u8>]) -> Result<T, E>,
    ) -> Result<(Self, watch::Receiver<Arc<T>>), FileError> {
        let taken = read(&files).await?;
        let first = make(&taken).map_err(|reason| FileError::Bad {
            files: files.clone(),
            reason: reason.to_string(),
        })?;
        let (values, reader) = watch::channel(Arc::new(first));
        let maker = Self {
            files,
            taken,
            seen: None,
            refused: None,
            values,
        };
        Ok((maker, reader))
    }

    async fn run<E: Display>(mut self, make: impl Fn(&[Vec<u8>]) -> Result<T, E>) {
        loop {
            tokio::select! {
                () = self.values.closed() => return,
                () = sleep(LOOK) => {}
            }
            let contents = read(&self.files).await;
            self.look(contents, &make);
        }
    }

    fn look<E: Display>(
        &mut self,
        contents: Result<Vec<Vec<u8>>, FileError>,
        make: &impl Fn(&[Vec<u8>]) -> Result<T, E>,
    ) {
        let contents = match contents {
            Ok(contents) if contents == self.taken => {
                (self.refused, self.seen) = (None, None);
                return;
            }
            // It may be half-written, which can look whole: a list of tokens without the last ones.
            Ok(contents) if self.seen.as_ref() != Some(&contents) => {
                self.seen = Some(contents);
                return;
            }
            Ok(contents) => contents,
            Err(error) => return self.refuse(error.to_string()),
        };
        match make(&contents) {
            Ok(value) => {
                self.taken = contents;
                self.refused = None;
                self.values.send_replace(Arc::new(value));
                info!(files = names(&self.files), "changed files are in force");
            }
            Err(reason) => self.refuse(format!("{}: {reason}", names(&self.files))),
        }
    }

    /// Said when it is still so at the second look: files that are changed one after the other do not fit
    /// each other for a moment.
    fn refuse(&mut self, reason: String) {
        let told = match &self.refused {
            Some((before, told)) if *before == reason => {
                if !told {
                    error!(
                        reason,
                        "changed files can't be used; what was read before stays in force"
                    );
                }
                true
            }
            _ => false,
        };
        self.refused = Some((reason, told));
    }
}

async fn read(files: &[PathBuf]) -> Result<Vec<Vec<u8>>, FileError> {
    let mut contents = Vec::new();
    for path in files {
        contents.push(read_one(path).await?);
    }
    Ok(contents)
}

async fn read_one(path: &Path) -> Result<Vec<u8>, FileError> {
    let unreadable = |reason| FileError::Unreadable {
        path: path.to_owned(),
        reason,
    };
    tokio::fs::read(path).await.map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(contents: &[Vec<u8>]) -> Result<u32, String> {
        let text = String::from_utf8_lossy(&contents[0]);
        text.parse().map_err(|_| format!("{text:?} is no number"))
    }

    #[tokio::test]
    async fn a_good_change_is_taken_and_a_bad_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n");
        assert!(follow(vec![path.clone()], number).await.is_err());
        std::fs::write(&path, "x").unwrap();
        let error = follow(vec![path.clone()], number).await.unwrap_err();
        assert!(error.to_string().contains("\"x\" is no number"), "{error}");

        std::fs::write(&path, "1").unwrap();
        let (mut maker, values) = Maker::new(vec![path.clone()], &number).await.unwrap();
        assert_eq!(**values.borrow(), 1);
        // Each counts when it is there at two looks: what is being written is not taken.
        for (text, expected) in [
            ("2", 1),
            ("23", 1),
            ("23", 23),
            ("y", 23),
            ("y", 23),
            ("3", 23),
            ("23", 23),
            ("3", 23),
            ("3", 3),
        ] {
            std::fs::write(&path, text).unwrap();
            let contents = read(&maker.files).await;
            maker.look(contents, &number);
            assert_eq!(**values.borrow(), expected, "{text}");
        }
        std::fs::remove_file(&path).unwrap();
        let contents = read(&maker.files).await;
        maker.look(contents, &number);
        assert_eq!(**values.borrow(), 3);
    }
}
