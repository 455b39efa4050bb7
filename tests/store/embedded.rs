//! Owns what the embedded store must bear besides the contract: damage, a second process, bad folders.
//! Must not know: etcd.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use bellwether_server::store::embedded::{EmbeddedOptions, EmbeddedStore};
use bellwether_server::store::{Revision, Store, StoreError, Txn, Write};

use super::mirror::Mirror;
use super::subject::{CHILD_FOLDER, put};

/// Set for the child process that fills its disk.
const FULL_FOLDER: &str = "BELLWETHER_TEST_FULL_DISK";

async fn open(folder: &Path) -> Result<Arc<dyn Store>, StoreError> {
    let store = EmbeddedStore::open(folder, EmbeddedOptions::default()).await?;
    Ok(Arc::new(store))
}

/// Not a test of its own: `write_until_killed` starts this binary with a folder to write to.
#[tokio::test]
async fn child_that_writes_until_killed() {
    let Ok(folder) = std::env::var(CHILD_FOLDER) else {
        return;
    };
    let store = open(Path::new(&folder)).await.unwrap();
    for n in 0_u64.. {
        let key = format!("/kill/{n}");
        let revision = put(&store, &key, "x").await;
        let mut out = std::io::stdout().lock();
        // The pipe closes when the parent is gone.
        if writeln!(out, "\nconfirmed {key} {revision}")
            .and_then(|()| out.flush())
            .is_err()
        {
            return;
        }
    }
}

/// Not a test of its own either: it writes until the disk is full, waits for a word, and goes on.
#[tokio::test]
async fn child_that_fills_the_disk() {
    let Ok(folder) = std::env::var(FULL_FOLDER) else {
        return;
    };
    let store = open(Path::new(&folder)).await.unwrap();
    let mut written = 0;
    let error = loop {
        let value = "x".repeat(100_000);
        let txn = Txn {
            guards: Vec::new(),
            writes: vec![Write::Put {
                key: format!("/a/{written}"),
                value: value.into(),
                lease: None,
            }],
        };
        match store.commit(txn).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    println!("\nfailed after {written}: {error}");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let reading = loop {
        // Closed until the disk takes something again.
        if let Ok(reading) = store.read("/a/").await {
            break reading;
        }
        tokio::task::yield_now().await;
    };
    // What failed may have arrived; what was confirmed has.
    assert!((written..=written + 1).contains(&reading.entries.len()));
    assert_eq!(put(&store, "/b", "x").await, reading.revision.next());
    println!("\nwent on");
}

#[tokio::test]
async fn a_full_disk_is_said_and_got_over() {
    let folder = tempfile::tempdir().unwrap();
    // Files end at 4 MiB for this child, until its limit is lifted.
    let limited = r#"trap "" XFSZ; ulimit -S -f 8192; exec "$@""#;
    let mut child = std::process::Command::new("sh")
        .args(["-c", limited, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "store::embedded::child_that_fills_the_disk"])
        .args(["--nocapture", "--test-threads=1"])
        .env(FULL_FOLDER, folder.path())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let out = child.stdout.take().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(out)).map_while(Result::ok);
    let failed = lines
        .find(|line| line.starts_with("failed after "))
        .expect("it fails");
    assert!(
        failed.contains("store.redb") && failed.contains("File too large"),
        "{failed}"
    );
    let status = std::process::Command::new("prlimit")
        .args(["--pid", &child.id().to_string(), "--fsize=unlimited"])
        .status()
        .unwrap();
    assert!(status.success());
    writeln!(child.stdin.take().unwrap(), "go on").unwrap();
    assert!(lines.any(|line| line.starts_with("went on")));
    assert!(child.wait().unwrap().success());
}

/// A folder with a store of some size in it, and the file in it.
async fn filled() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    for n in 0..50 {
        put(&store, &format!("/a/{n}"), &"x".repeat(10_000)).await;
    }
    drop(store);
    let file = folder.path().join("store.redb");
    (folder, file)
}

fn assert_corrupt(outcome: Result<Arc<dyn Store>, StoreError>, file: &Path, what: &str) {
    match outcome {
        Err(StoreError::Corrupt { path, reason }) => {
            assert_eq!(Path::new(&path), file, "{what}");
            assert!(!reason.is_empty(), "{what}");
        }
        Err(other) => panic!("{what}: {other:?}"),
        Ok(_) => panic!("{what}: it was opened"),
    }
}

#[tokio::test]
async fn a_truncated_file_is_named() {
    let (folder, file) = filled().await;
    let whole = fs::read(&file).unwrap();
    for kept in [0, 1, 100, 4096, 10_000, whole.len() / 2, whole.len() - 4096] {
        fs::write(&file, &whole[..kept]).unwrap();
        assert_corrupt(
            open(folder.path()).await,
            &file,
            &format!("{kept} bytes kept"),
        );
    }
    fs::write(&file, &whole).unwrap();
    let store = open(folder.path()).await.unwrap();
    assert_eq!(store.read("/a/").await.unwrap().entries.len(), 50);
}

#[tokio::test]
async fn a_file_that_is_something_else_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.redb");
    for garbage in [b"hello".to_vec(), vec![0; 1 << 16], vec![0xff; 1 << 16]] {
        fs::write(&file, garbage).unwrap();
        assert_corrupt(open(folder.path()).await, &file, "garbage");
    }
}

/// Damage anywhere is found when the store is opened, or it was in a part that nothing uses.
#[tokio::test]
async fn a_damaged_page_never_gives_other_data() {
    let (folder, file) = filled().await;
    let whole = fs::read(&file).unwrap();
    let mut found = 0;
    for step in 0..40 {
        let at = whole.len() / 40 * step;
        let mut damaged = whole.clone();
        for byte in &mut damaged[at..at + 64] {
            *byte ^= 0x55;
        }
        fs::write(&file, damaged).unwrap();
        match open(folder.path()).await {
            Ok(store) => {
                let reading = store.read("/a/").await.unwrap();
                assert_eq!(reading.entries.len(), 50, "damage at {at}");
                assert!(
                    reading
                        .entries
                        .iter()
                        .all(|kv| kv.value.iter().all(|byte| *byte == b'x'))
                );
            }
            Err(StoreError::Corrupt { .. }) => found += 1,
            Err(other) => panic!("damage at {at}: {other}"),
        }
    }
    assert!(found > 0);
}

#[tokio::test]
async fn a_store_that_is_open_elsewhere_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::embedded::child_that_writes_until_killed"])
        .args(["--nocapture", "--test-threads=1"])
        .env(CHILD_FOLDER, folder.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let out = child.stdout.take().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(out));
    assert!(lines.any(|line| line.unwrap().starts_with("confirmed ")));
    let outcome = open(folder.path()).await;
    child.kill().unwrap();
    child.wait().unwrap();
    match outcome {
        Err(StoreError::Locked { path }) => assert_eq!(Path::new(&path), folder.path()),
        other => panic!("{other:?}"),
    }
    assert!(open(folder.path()).await.is_ok(), "the kill has freed it");
}

#[tokio::test]
async fn a_folder_that_can_not_be_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    for bad in [file.clone(), file.join("below"), "/proc/nowhere".into()] {
        assert_corrupt(open(&bad).await, &bad, "not a folder");
    }
    assert!(open(&folder.path().join("made/on/demand")).await.is_ok());
}

#[tokio::test]
async fn a_crash_while_it_was_made_leaves_no_half_of_a_store() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("store.redb.new"), "half").unwrap();
    let store = open(folder.path()).await.unwrap();
    assert_eq!(put(&store, "/a", "x").await, Revision(2));
}

#[tokio::test]
async fn a_format_of_the_future_is_not_touched() {
    let (folder, file) = filled().await;
    let table = redb_meta();
    let database = redb::Database::open(&file).unwrap();
    let txn = database.begin_write().unwrap();
    txn.open_table(table).unwrap().insert("format", 99).unwrap();
    txn.commit().unwrap();
    drop(database);
    let Err(StoreError::Corrupt { reason, .. }) = open(folder.path()).await else {
        panic!("it was opened");
    };
    assert_eq!(reason, "file has format 99, this build knows format 1");
}

fn redb_meta() -> redb::TableDefinition<'static, &'static str, u64> {
    redb::TableDefinition::new("meta")
}

#[tokio::test]
async fn a_reader_that_falls_behind_the_history_gets_the_difference() {
    let folder = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions {
        history_revisions: 50,
        ..EmbeddedOptions::default()
    };
    let store: Arc<dyn Store> =
        Arc::new(EmbeddedStore::open(folder.path(), options).await.unwrap());
    put(&store, "/p/stays", "1").await;
    put(&store, "/p/a", "first").await;
    let mut mirror = Mirror::of(Arc::clone(&store)).await;
    // More than all queues hold: the reader reads nothing meanwhile.
    for n in 0..400 {
        put(&store, "/p/a", &n.to_string()).await;
    }
    put(&store, "/p/a", "last").await;
    let told = mirror.until("/p/a", "last").await;
    assert!(told.len() < 400, "{}", told.len());
    assert!(told.iter().all(|change| change.starts_with("+/p/a=")));
    assert_eq!(mirror.follower.health.borrow().resyncs, 1);
    assert_eq!(mirror.content["/p/stays"], "1");
}

#[tokio::test]
async fn each_store_has_its_own_id_and_keeps_it() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let id = open(one.path()).await.unwrap().id().await.unwrap();
    assert_eq!(open(one.path()).await.unwrap().id().await.unwrap(), id);
    assert_ne!(open(other.path()).await.unwrap().id().await.unwrap(), id);
}
