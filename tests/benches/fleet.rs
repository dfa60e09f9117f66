//! Many agents at once: `fleet agents COUNT URL KEY TOKEN IMAGE RANGES`, `fleet plain COUNT URL RANGES`, and
//! `fleet beats COUNT PAIRS SERVER-PID URL KEY TOKEN IMAGE`.
//!
//! In: a server with an image; or any HTTPS server that has its packs, and the ranges that one agent read. Out: JSON.
//! Promise: agents are the agent's own code, from opening a run to verified chunks; plain readers read the same ranges.

use anyhow::{Context as _, Result, anyhow, ensure};
use ramet_agent::transfer::client::{Leash, Limits};
use ramet_agent::transfer::fetch::{FetchError, Fetcher, Need, batches};
use ramet_agent::transfer::http::{Address, Http};
use ramet_agent::transfer::{Downstream, Located, PackAt, TransferError};
use ramet_wire::api::{Action, Heartbeat, ImageInfo, OpenRun, RunOpened};
use ramet_wire::manifest::Manifest;
use ramet_wire::receipt::{Origin, SignedReceipt};
use ramet_wire::segment::{Record, RecordKind, decode};
use ramet_wire::{ChunkId, ImageRef};
use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};

/// Between two words of an agent on how far it is, as the agent has it.
const BEAT: Duration = Duration::from_secs(10);
/// Threads that speak for all agents that only say how far they are.
const SPEAKERS: usize = 8;

/// A door that notes what is read through it.
struct Noted<'a> {
    door: &'a Http,
    ranges: Mutex<String>,
}

impl Downstream for Noted<'_> {
    fn read(&self, pack: &PackAt, offset: u64, buf: &mut [u8]) -> Result<(), TransferError> {
        if let Ok(mut ranges) = self.ranges.lock() {
            let _ = writeln!(ranges, "{} {offset} {}", pack.pack, buf.len());
        }
        self.door.read(pack, offset, buf)
    }
    fn image(&self) -> Result<ImageInfo, TransferError> {
        self.door.image()
    }
    fn manifest(&self) -> Result<(Vec<u8>, Origin), TransferError> {
        self.door.manifest()
    }
    fn locate(&self, ids: &[ChunkId]) -> Result<Located, TransferError> {
        self.door.locate(ids)
    }
    fn damaged(&self, ids: &[ChunkId]) {
        self.door.damaged(ids);
    }
    fn progress(&self, step: &str, done: u64, total: u64) {
        self.door.progress(step, done, total);
    }
    fn receipt(&self, receipt: &str) -> Result<Option<SignedReceipt>, TransferError> {
        self.door.receipt(receipt)
    }
    fn run(&self) -> Option<String> {
        self.door.run()
    }
    fn folder(&self) -> Option<&Path> {
        None
    }
    fn fail(&self, error: &str) {
        self.door.fail(error);
    }
}

/// The chunks that an image's records name, each once.
fn needs(door: &dyn Downstream, fetcher: &mut Fetcher, fetched: &AtomicU64) -> Result<Vec<Need>> {
    let (manifest, _) = door.manifest()?;
    let manifest = Manifest::read(&manifest)?;
    let (mut seen, mut needs) = (HashSet::new(), Vec::new());
    for (_, place, size, stored) in manifest.spaces() {
        let segments: Vec<Need> = stored.segments.iter().map(|segment| Need { id: segment.id, raw: None }).collect();
        let mut records: Vec<Vec<Record>> = vec![Vec::new(); segments.len()];
        for batch in batches(door, &segments)? {
            fetcher.fetch::<anyhow::Error>(door, &batch, fetched, &mut |at, chunk| {
                records[at] = decode(chunk.bytes(), &stored.segments[at], 0, size, place.unit())?;
                Ok(())
            })?;
        }
        for record in records.concat() {
            if let RecordKind::Data(id) = record.kind
                && seen.insert(id)
            {
                needs.push(Need { id, raw: Some(record.len) });
            }
        }
    }
    Ok(needs)
}

/// One agent: opens its run, reads and verifies all that the image holds. Returns the bytes that came over the network.
fn agent(address: &Address, image: &ImageRef, ranges: Option<&str>) -> Result<u64> {
    let http = Http::open(address, Action::Restore, image, &[], &|_| false)?;
    let door = Noted { door: &http, ranges: Mutex::new(String::new()) };
    let (mut fetcher, fetched) = (Fetcher::new()?, AtomicU64::new(0));
    let needs = needs(&door, &mut fetcher, &fetched)?;
    let total: u64 = needs.iter().map(|need| u64::from(need.raw.unwrap_or(0))).sum();
    let (mut done, mut beat) = (0, Instant::now());
    for batch in batches(&door, &needs)? {
        fetcher.fetch::<FetchError>(&door, &batch, &fetched, &mut |_, chunk| {
            done += chunk.bytes().len() as u64;
            Ok(())
        })?;
        if beat.elapsed() >= BEAT {
            door.progress("restoring", done, total);
            beat = Instant::now();
        }
    }
    ensure!(done == total, "{done} bytes came, the image has {total}");
    door.fail("a measurement, which hands over no receipt");
    if let Some(path) = ranges {
        std::fs::write(path, door.ranges.lock().map_err(|_| anyhow!("poisoned"))?.as_bytes())?;
    }
    Ok(fetched.into_inner())
}

/// One reader of ranges, `PACK OFFSET LENGTH` a line, from a server that has packs at `URL/PACK`.
fn plain(url: &str, ranges: &str) -> Result<u64> {
    let tls = ureq::tls::TlsConfig::builder().disable_verification(true).build();
    let agent: ureq::Agent = ureq::Agent::config_builder().tls_config(tls).build().into();
    let (mut buf, mut read) = (Vec::new(), 0);
    for line in ranges.lines() {
        let mut words = line.split(' ');
        let (Some(pack), Some(offset), Some(len)) = (words.next(), words.next(), words.next()) else { continue };
        let (offset, len): (u64, u64) = (offset.parse()?, len.parse()?);
        let range = format!("bytes={offset}-{}", offset + len - 1);
        let answer = agent.get(format!("{url}/{pack}")).header("range", range).call()?;
        buf.clear();
        answer.into_body().into_reader().take(len + 1).read_to_end(&mut buf)?;
        ensure!(buf.len() as u64 == len, "{} bytes came, {len} were asked for", buf.len());
        read += len;
    }
    Ok(read)
}

/// `count` of them begin at once; what they read, how long each took, what went wrong.
fn together(count: usize, one: impl Fn(usize) -> Result<u64> + Sync) -> Result<()> {
    let (start, bytes, took) = (Barrier::new(count), AtomicU64::new(0), Mutex::new(Vec::with_capacity(count)));
    let failed = Mutex::new(Vec::new());
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for index in 0..count {
            let (start, bytes, took, failed, one) = (&start, &bytes, &took, &failed, &one);
            scope.spawn(move || {
                start.wait();
                let begun = Instant::now();
                match one(index) {
                    Ok(read) => {
                        bytes.fetch_add(read, Ordering::Relaxed);
                        took.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(begun.elapsed());
                    }
                    Err(error) => {
                        failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(format!("{error:#}"));
                    }
                }
            });
        }
    });
    let mut took = took.into_inner().map_err(|_| anyhow!("poisoned"))?;
    let failed = failed.into_inner().map_err(|_| anyhow!("poisoned"))?;
    took.sort_unstable();
    let at = |part: usize| took.get(part).map_or(0.0, Duration::as_secs_f64);
    println!(
        "{}",
        serde_json::json!({
            "count": count, "bytes": bytes.into_inner(), "seconds": begun.elapsed().as_secs_f64(),
            "fastest": at(0), "median": at(took.len() / 2), "slowest": at(took.len().saturating_sub(1)),
            "failed": failed.len(), "first_failure": failed.first(),
        })
    );
    Ok(())
}

/// Bytes that one reader after the other gets in the time of one beat, by the second.
fn speed(address: &Address, image: &ImageRef) -> Result<f64> {
    let (begun, mut bytes) = (Instant::now(), 0);
    while begun.elapsed() < BEAT {
        bytes += agent(address, image, None)?;
    }
    #[allow(clippy::cast_precision_loss)] // gigabytes
    Ok(bytes as f64 / begun.elapsed().as_secs_f64())
}

/// A machine that only says how far it is. Its buffers are small: its own work, which other machines do in the field, is
/// done here beside the server's.
struct Machine {
    agent: ureq::Agent,
    url: String,
    session: String,
}

impl Machine {
    fn new(address: &Address, image: &ImageRef) -> Result<Self> {
        let tls = ureq::tls::TlsConfig::builder().disable_verification(true).build();
        let config = ureq::Agent::config_builder().tls_config(tls).input_buffer_size(4096).output_buffer_size(4096);
        let (agent, url): (ureq::Agent, _) = (config.build().into(), address.url.clone());
        let machine = Self { agent, url, session: address.token.clone() };
        let (version, image) = (env!("CARGO_PKG_VERSION").to_owned(), image.clone());
        let source = ramet_wire::manifest::Source::default();
        let run = OpenRun { agent: version, action: Action::Restore, image, partitions: Vec::new(), machine: source };
        let opened: RunOpened = serde_json::from_slice(&machine.post("/v1/runs", &serde_json::to_vec(&run)?)?)?;
        Ok(Self { session: opened.session, ..machine })
    }

    fn post(&self, path: &str, body: &[u8]) -> Result<Vec<u8>> {
        let ask =
            self.agent.post(format!("{}{path}", self.url)).header("authorization", format!("Bearer {}", self.session));
        let mut answer = ask.header("content-type", "application/json").send(body)?;
        Ok(answer.body_mut().read_to_vec()?)
    }

    fn beat(&self, done: u64) -> Result<()> {
        let beat = Heartbeat { step: "restoring".to_owned(), done, total: 1 << 30 };
        self.post("/v1/runs/current", &serde_json::to_vec(&beat)?).map(drop)
    }
}

/// Clock ticks that a process has used.
fn ticks(pid: u32) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let field = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).context("reading its times");
    Ok(field(11)? + field(12)?)
}

/// Every agent says once, over its own connection, how far it is; spread over the time of one beat. How many did not.
fn round(agents: &[Machine]) -> usize {
    let begun = Instant::now();
    let missed = AtomicU64::new(0);
    let each = agents.len().div_ceil(SPEAKERS);
    std::thread::scope(|scope| {
        for share in agents.chunks(each.max(1)) {
            let missed = &missed;
            scope.spawn(move || {
                for (index, machine) in (0_u32..).zip(share) {
                    let due = BEAT.mul_f64(f64::from(index) / each as f64);
                    std::thread::sleep(due.saturating_sub(begun.elapsed()));
                    if machine.beat(u64::from(index)).is_err() {
                        missed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    usize::try_from(missed.into_inner()).unwrap_or(usize::MAX)
}

/// What a round of beats of `count` agents costs a reader: its speed without and with, in turns.
fn beats(count: usize, pairs: usize, server: u32, address: &Address, image: &ImageRef) -> Result<()> {
    let next = AtomicU64::new(0);
    let agents = Mutex::new(Vec::with_capacity(count));
    std::thread::scope(|scope| {
        let opening: Vec<_> = (0..SPEAKERS)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    while next.fetch_add(1, Ordering::Relaxed) < count as u64 {
                        let machine = Machine::new(address, image)?;
                        agents.lock().map_err(|_| anyhow!("poisoned"))?.push(machine);
                    }
                    Ok(())
                })
            })
            .collect();
        opening.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?)
    })?;
    let agents = agents.into_inner().map_err(|_| anyhow!("poisoned"))?;
    let (mut ratios, mut missed) = (Vec::new(), 0);
    // The first pair warms up.
    for pair in 0..=pairs {
        let alone = speed(address, image)?;
        // Agents speak every ten seconds: their connections are open when the measured round begins.
        round(&agents);
        let (beside, lost) = std::thread::scope(|scope| {
            let beating = scope.spawn(|| round(&agents));
            (speed(address, image), beating.join().unwrap_or(usize::MAX))
        });
        if pair > 0 {
            ratios.push(alone / beside?);
            missed += lost;
        }
    }
    ratios.sort_by(f64::total_cmp);
    round(&agents);
    let before = ticks(server)?;
    missed += round(&agents);
    let ticks = ticks(server)? - before;
    println!(
        "{}",
        serde_json::json!({ "count": count, "slower": ratios[ratios.len() / 2], "all": ratios, "missed": missed, "server_ticks": ticks })
    );
    Ok(())
}

fn main() -> Result<()> {
    rustls::crypto::ring::default_provider().install_default().map_err(|_| anyhow!("a provider is installed"))?;
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["agents", count, url, key, token, image, ranges] => {
            let key = Some(key.parse().map_err(|error| anyhow!("{key}: {error}"))?);
            let (url, token) = ((*url).to_owned(), (*token).to_owned());
            let address = Address { url, key, token, limits: Limits::default(), leash: Leash::default() };
            let image: ImageRef = image.parse().map_err(|error| anyhow!("{image}: {error}"))?;
            together(count.parse()?, |index| agent(&address, &image, (index == 0).then_some(*ranges)))
        }
        ["beats", count, pairs, server, url, key, token, image] => {
            let key = Some(key.parse().map_err(|error| anyhow!("{key}: {error}"))?);
            let (url, token) = ((*url).to_owned(), (*token).to_owned());
            let address = Address { url, key, token, limits: Limits::default(), leash: Leash::default() };
            beats(
                count.parse()?,
                pairs.parse()?,
                server.parse()?,
                &address,
                &image.parse().map_err(|error| anyhow!("{image}: {error}"))?,
            )
        }
        ["plain", count, url, ranges] => {
            let ranges = std::fs::read_to_string(ranges).with_context(|| format!("reading {ranges}"))?;
            together(count.parse()?, |_| plain(url, &ranges))
        }
        _ => Err(anyhow!(
            "usage: fleet agents COUNT URL KEY TOKEN IMAGE RANGES | fleet plain COUNT URL RANGES\n  | fleet beats COUNT PAIRS SERVER-PID URL KEY TOKEN IMAGE"
        )),
    }
}
