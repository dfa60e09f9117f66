//! Answers for people and for scripts.
//!
//! In: the API's answers. Out: aligned tables, or one JSON value, on stdout; progress on stderr.
//! Promise: text from machines is cleaned before it reaches a terminal.

use super::{Fault, on_terminal, write};
use crate::http::admin::{CheckSeen, CollectSeen};
use crate::text::clean;
use ramet_wire::api::{Action, ImageInfo, ImageState, RunInfo, RunState, SignedManifest, TokenInfo};
use ramet_wire::manifest::{Manifest, PartitionImage};
use serde::Serialize;
use std::time::{Duration, Instant};

/// One JSON value and a newline.
pub(super) fn json(value: &impl Serialize) -> Result<(), Fault> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Fault::Io { doing: "writing JSON", source: error.into() })?;
    write(&format!("{text}\n"))
}

/// Columns as wide as their widest cell.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.len()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    for row in std::iter::once(&head).chain(rows) {
        let line: String = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}  ")).collect();
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// `1.5 GiB`.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let exponent = usize::try_from(count.ilog2() / 10).unwrap_or(1).clamp(1, UNITS.len());
    // One digit behind the point, without floating point.
    let tenths = u128::from(count) * 10 / (1_u128 << (10 * exponent));
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[exponent - 1])
}

fn state(state: ImageState) -> &'static str {
    match state {
        ImageState::Complete => "complete",
        ImageState::Damaged => "damaged",
        ImageState::Unknown => "unknown",
    }
}

pub(super) fn images(images: &[ImageInfo]) -> Result<(), Fault> {
    let row = |info: &ImageInfo| {
        vec![
            info.name.to_string(),
            info.id.to_string(),
            info.number.to_string(),
            clean(&info.created, 32),
            state(info.state).to_owned(),
            info.disks.to_string(),
            bytes(info.data_bytes),
        ]
    };
    let rows: Vec<Vec<String>> = images.iter().map(row).collect();
    write(&table(&["NAME", "ID", "COMMIT", "CREATED", "STATE", "DISKS", "DATA"], &rows))
}

pub(super) fn tokens(tokens: &[TokenInfo]) -> Result<(), Fault> {
    let row = |token: &TokenInfo| {
        let scopes: Vec<String> = token.scopes.iter().map(ToString::to_string).collect();
        vec![
            token.id.clone(),
            scopes.join(","),
            token.images.to_string(),
            token.expires.clone().unwrap_or_else(|| "never".to_owned()),
            if token.once { "once" } else { "" }.to_owned(),
            token.used.to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = tokens.iter().map(row).collect();
    write(&table(&["ID", "SCOPE", "IMAGES", "EXPIRES", "ONCE", "USED"], &rows))
}

pub(super) fn runs(runs: &[RunInfo]) -> Result<(), Fault> {
    let row = |run: &RunInfo| {
        let state = match run.state {
            RunState::Running => "running",
            RunState::Done => "done",
            RunState::Unproven => "unproven",
            RunState::Failed => "failed",
            RunState::Lost => "lost",
            RunState::Unknown => "unknown",
        };
        let action = match run.action {
            Action::Capture => "capture",
            Action::Restore => "restore",
        };
        let done = if run.total > 0 { format!("{} of {}", bytes(run.done), bytes(run.total)) } else { String::new() };
        vec![
            run.run.clone(),
            action.to_owned(),
            run.image.to_string(),
            state.to_owned(),
            run.started.clone(),
            done,
            clean(&run.agent, 60),
            clean(&run.detail, 120),
        ]
    };
    let rows: Vec<Vec<String>> = runs.iter().map(row).collect();
    write(&table(&["RUN", "ACTION", "IMAGE", "STATE", "STARTED", "DONE", "AGENT", "DETAIL"], &rows))
}

/// Versions, then disks and partitions of the one that is meant.
pub(super) fn image(versions: &[ImageInfo], signed: &SignedManifest, as_json: bool) -> Result<(), Fault> {
    let broken = |error: &dyn std::fmt::Display| Fault::Found(format!("reading the manifest: {error}"));
    if as_json {
        let manifest: serde_json::Value = serde_json::from_str(&signed.manifest).map_err(|error| broken(&error))?;
        return json(
            &serde_json::json!({ "versions": versions, "manifest": manifest, "key": signed.key.fingerprint() }),
        );
    }
    let manifest = Manifest::read(signed.manifest.as_bytes()).map_err(|error| broken(&error))?;
    images(versions)?;
    let mut text = format!("\nsource      {}\n", clean(manifest.source.host.as_deref().unwrap_or("unknown"), 80));
    text.push_str(&format!("agent       {}\nsigned by   {}\n", clean(&manifest.agent, 32), signed.key.fingerprint()));
    if manifest.inconsistent {
        text.push_str("INCONSISTENT: a file system was in use while it was read\n");
    }
    for warning in manifest.warnings.iter().take(50) {
        text.push_str(&format!("warning     {}\n", clean(warning, 200)));
    }
    for disk in &manifest.disks {
        let model = clean(disk.model.as_deref().unwrap_or(""), 60);
        text.push_str(&format!(
            "\ndisk {}  {}  {}-byte sectors  {model}\n",
            disk.ordinal,
            bytes(disk.size),
            disk.logical_sector
        ));
        let rows: Vec<Vec<String>> = disk.partitions.iter().map(partition).collect();
        text.push_str(&table(&["NUMBER", "START", "SIZE", "CONTENT", "UUID", "LABEL", "USED"], &rows));
    }
    write(&text)
}

fn partition(partition: &PartitionImage) -> Vec<String> {
    let content = &partition.content;
    let or_dash = |text: &Option<String>| clean(text.as_deref().unwrap_or("-"), 40);
    vec![
        partition.number.to_string(),
        partition.range.start().to_string(),
        bytes(partition.range.len()),
        clean(&content.kind, 24),
        or_dash(&content.uuid),
        or_dash(&content.label),
        bytes(partition.used_bytes),
    ]
}

fn read<T: serde::de::DeserializeOwned>(report: &serde_json::Value) -> Result<T, Fault> {
    serde_json::from_value(report.clone()).map_err(|error| Fault::Found(format!("reading the report: {error}")))
}

/// What a check found; damage is a failure.
pub(super) fn check(report: &serde_json::Value, as_json: bool) -> Result<(), Fault> {
    let seen: CheckSeen = read(report)?;
    if as_json {
        json(report)?;
    } else {
        let mut text = format!("{} chunks, {} packs, {} read\n", seen.chunks, seen.packs, bytes(seen.bytes));
        for damage in &seen.damages {
            let images = if damage.images.is_empty() { "no image".to_owned() } else { damage.images.join(", ") };
            text.push_str(&format!(
                "damaged: {}: {}: touches {images}\n",
                clean(&damage.object, 200),
                clean(&damage.reason, 300)
            ));
        }
        for image in seen.images.iter().filter(|image| image.state != ImageState::Complete) {
            let problem =
                image.problem.as_deref().map(|problem| format!(": {}", clean(problem, 200))).unwrap_or_default();
            text.push_str(&format!("image {} lacks {} chunks{problem}\n", image.image, image.missing));
        }
        for stray in seen.strays.iter().take(100) {
            text.push_str(&format!("not of the store: {}\n", clean(stray, 200)));
        }
        write(&text)?;
    }
    if seen.clean {
        return Ok(());
    }
    let images = seen.images.iter().filter(|image| image.state != ImageState::Complete).count();
    Err(Fault::Found(format!(
        "{} files are damaged, {images} images are touched; capturing the healthy source again heals them",
        seen.damages.len()
    )))
}

/// What a collect did.
pub(super) fn collect(report: &serde_json::Value, as_json: bool) -> Result<(), Fault> {
    if as_json {
        return json(report);
    }
    let seen: CollectSeen = read(report)?;
    write(&format!(
        "{} chunks are needed\n{} packs written anew ({})\n{} packs condemned ({})\n{} packs deleted ({})\n{} packs wait to be deleted\n{} packs are too young\n",
        seen.live_chunks,
        seen.rewritten_packs,
        bytes(seen.rewritten_bytes),
        seen.condemned_packs,
        bytes(seen.condemned_bytes),
        seen.deleted_packs,
        bytes(seen.deleted_bytes),
        seen.waiting_packs,
        seen.young_packs
    ))
}

/// How far work is: a line that changes on a terminal, one every few seconds elsewhere.
#[derive(Debug)]
pub(super) struct Progress {
    what: &'static str,
    terminal: bool,
    last: Option<Instant>,
}

impl Progress {
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, terminal: on_terminal(), last: None }
    }

    pub(super) fn at(&mut self, done: u64, total: u64) {
        let pause = if self.terminal { Duration::from_millis(200) } else { Duration::from_secs(5) };
        if self.last.is_some_and(|last| last.elapsed() < pause) {
            return;
        }
        self.last = Some(Instant::now());
        let line = format!("{}: {} of {}", self.what, bytes(done), bytes(total));
        if self.terminal {
            eprint!("\r\x1b[K{line}");
        } else {
            eprintln!("{line}");
        }
    }

    pub(super) fn end(&self) {
        if self.terminal && self.last.is_some() {
            eprint!("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_in_the_largest_unit_that_fits() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(5 << 30), "5.0 GiB");
        assert_eq!(bytes(u64::MAX), "16383.9 PiB");
    }

    #[test]
    fn columns_are_aligned() {
        let rows = vec![vec!["a".to_owned(), "long".to_owned()], vec!["abc".to_owned(), "b".to_owned()]];
        assert_eq!(table(&["X", "Y"], &rows), "X    Y\na    long\nabc  b\n");
    }
}
