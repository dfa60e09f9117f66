//! Backups of a running server, and bringing them back.

use crate::harness::{Server, image, open};
use ramet_server::backup::{BackupError, restore};
use ramet_server::{Config, start};
use ramet_wire::api::{Action, ImageInfo, ImageState, Scope};
use std::path::Path;

fn save(server: &Server, path: &Path) {
    let answer = server.as_operator().send("POST", "/v1/backup", &[], &[]).done(200);
    assert_eq!(answer.headers["content-length"], answer.body.len().to_string().as_str());
    std::fs::write(path, answer.body).unwrap();
}

#[test]
fn a_backup_brings_back_identity_tokens_and_images_and_then_the_packs_make_them_whole() {
    let mut server = Server::start();
    let committed = server.capture(&image("web", 0..9));
    let token = server.token(&[Scope::Restore]);
    let key = server.running().fingerprint();
    let file = server.dir.path().join("backup.tar");
    save(&server, &file);
    // Nothing of the making of it stays behind.
    let left = |dir: &Path| {
        std::fs::read_dir(dir).unwrap().filter_map(Result::ok).map(|entry| entry.file_name()).collect::<Vec<_>>()
    };
    assert!(left(&server.state()).iter().all(|name| !name.to_string_lossy().starts_with("backup")));
    let packs = server.state().join("store/packs");
    server.running.take().unwrap().stop().unwrap();

    let other = server.dir.path().join("other");
    let restored = restore(&file, &other).unwrap();
    assert_eq!((restored.images, restored.key), (1, key));
    std::fs::rename(server.state(), server.dir.path().join("lost")).unwrap();
    std::fs::rename(&other, server.state()).unwrap();
    server.up();
    assert_eq!(server.running().fingerprint(), key);
    let info: ImageInfo = server.as_operator().get("/v1/images/web").json(200);
    assert_eq!((info.id, info.state), (committed.id, ImageState::Damaged));
    server.with_secret(&token).post("/v1/runs", &open(Action::Restore, "web")).done(201);

    // The packs come back from wherever they were kept.
    let kept = server.dir.path().join("lost/store/packs");
    std::fs::remove_dir(&packs).unwrap();
    std::fs::rename(kept, &packs).unwrap();
    let lines = server.as_operator().send("POST", "/v1/store/check", &[], &[]).done(200).text();
    let last = lines.lines().last().unwrap();
    assert!(last.contains("\"clean\":true"), "{last}");
    let info: ImageInfo = server.as_operator().get("/v1/images/web").json(200);
    assert_eq!(info.state, ImageState::Complete);
}

#[test]
fn a_backup_is_not_brought_back_into_a_folder_that_is_not_empty() {
    let server = Server::start();
    let file = server.dir.path().join("backup.tar");
    save(&server, &file);
    let other = Server::start();
    let state = other.state();
    drop(other.running);
    let refused = restore(&file, &state).unwrap_err();
    assert!(matches!(refused, BackupError::State(_)), "{refused}");
    assert!(refused.is_refusal());
}

#[test]
fn a_backup_with_a_flipped_bit_or_cut_short_is_refused_and_leaves_the_folder_empty() {
    let server = Server::start();
    server.capture(&image("web", 0..3));
    let file = server.dir.path().join("backup.tar");
    save(&server, &file);
    let bytes = std::fs::read(&file).unwrap();
    let target = server.dir.path().join("target");
    let refuse = |bytes: &[u8], label: String| {
        std::fs::write(&file, bytes).unwrap();
        assert!(restore(&file, &target).is_err(), "{label}");
        let left: Vec<_> =
            std::fs::read_dir(&target).unwrap().filter_map(Result::ok).map(|entry| entry.file_name()).collect();
        assert_eq!(left, ["lock"], "{label}");
    };
    for cut in [0, 100, 512, 2000, bytes.len() / 2, bytes.len() - 3000] {
        refuse(&bytes[..cut], format!("cut at {cut}"));
    }
    // One bit in the content of each entry: behind its header of 512 bytes.
    let mut at = 0;
    let mut entries = 0;
    while bytes.get(at).is_some_and(|first| *first != 0) {
        let size = std::str::from_utf8(&bytes[at + 124..at + 135]).unwrap();
        let size = usize::from_str_radix(size.trim(), 8).unwrap();
        let mut flipped = bytes.clone();
        flipped[at + 512 + size / 2] ^= 1;
        refuse(&flipped, format!("bit in the entry at {at}"));
        at += 512 + size.div_ceil(512) * 512;
        entries += 1;
    }
    assert_eq!(entries, 7, "about, key, database, three files of the image, sums");
    std::fs::write(&file, &bytes).unwrap();
    restore(&file, &target).unwrap();
    let mut config = Config::new(&target);
    config.listen = "127.0.0.1:0".parse().unwrap();
    let running = start(config).unwrap();
    assert_eq!(running.fingerprint(), server.running().fingerprint());
}
