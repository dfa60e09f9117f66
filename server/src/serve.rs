//! A server from start to stop.
//!
//! In: a `Config`. Out: a `Running` server, or the same application without a listener for local commands.
//! Promise: it is reachable only once everything it needs is open; stopping lets running requests finish.

use crate::boot::{self, Boot, Urls};
use crate::config::Config;
use crate::db::{Db, DbError};
use crate::http::{App, router, runs};
use crate::identity::names::{BadUrl, Names};
use crate::identity::{Identity, IdentityError, tls};
use crate::listen::Places;
use crate::metrics::{Metrics, scrape::Mark};
use crate::power::desk::Desk;
use crate::power::hands::Bmc;
use crate::power::vault::{self, VaultError};
use crate::rate::Rate;
use crate::secret::{self, NoRandom, PinKey, UrlKey};
use crate::session::{Session, Sessions};
use crate::state::{Note, State, StateError};
use crate::waiting::Waiting;
use axum_server::Handle;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use ramet_store::{Access, Options, Store, StoreError};
use ramet_wire::Fingerprint;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Threads for blocking work: uploads, reads of packs, upkeep.
const BLOCKING_THREADS: usize = 64;
/// Manifests and receipts in memory at once.
const LARGE_BODIES: usize = 2;

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state folder.
    #[error("opening the state folder")]
    State(#[from] StateError),
    /// The identity.
    #[error("opening the identity")]
    Identity(#[from] IdentityError),
    /// The database.
    #[error("opening the database")]
    Db(#[from] DbError),
    /// The store.
    #[error("opening the store")]
    Store(#[from] StoreError),
    /// The store was made by another identity.
    #[error("store has key {store}, this server's identity is {own}")]
    Key {
        /// The store's.
        store: Fingerprint,
        /// Ours.
        own: Fingerprint,
    },
    /// The `--url`.
    #[error("reading --url")]
    Url(#[from] BadUrl),
    /// The `--boot-url`.
    #[error("--boot-url {0}")]
    BootUrl(&'static str),
    /// The address.
    #[error("listening on {listen}")]
    Listen {
        /// Where.
        listen: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// No threads.
    #[error("starting threads")]
    Threads(#[source] io::Error),
    /// The key of the BMC passwords.
    #[error("opening the power key")]
    Vault(#[from] VaultError),
    /// No random bytes.
    #[error("making secrets")]
    Random(#[from] NoRandom),
}

/// A server that runs.
#[derive(Debug)]
pub struct Running {
    addr: SocketAddr,
    boot: Option<SocketAddr>,
    tftp: Option<SocketAddr>,
    url: String,
    fingerprint: Fingerprint,
    local_token: String,
    grace: std::time::Duration,
    handle: Handle<SocketAddr>,
    task: Option<JoinHandle<io::Result<()>>>,
    runtime: Option<Runtime>,
    app: Option<Arc<App>>,
}

/// Starts a server; it runs on threads of its own until it is stopped or dropped.
///
/// # Errors
/// [`StartError`].
pub fn start(mut config: Config) -> Result<Running, StartError> {
    let state = State::open(&config.state)?;
    let listen = config.listen;
    let failed = |source| StartError::Listen { listen, source };
    // Bound first: a second server on a busy port changes nothing.
    let socket = TcpListener::bind(listen).map_err(failed)?;
    let addr = socket.local_addr().map_err(failed)?;
    let runtime = runtime()?;
    let extra = Extra::bind(&mut config, &runtime)?;
    let (app, local) = runtime.block_on(assemble(state, &config, addr))?;
    app.power.unlock()?;
    let tls = tls::server_config(app.identity.issue(&app.names)?)?;
    let handle = Handle::new();
    let places = Places::new(config.limits.connections, config.limits.stall);
    let acceptor = RustlsAcceptor::new(RustlsConfig::from_config(tls))
        .handshake_timeout(config.limits.handshake_wait)
        .acceptor(places);
    let service = router(&app).into_make_service_with_connect_info::<SocketAddr>();
    let guard = runtime.enter();
    let mut server = axum_server::from_tcp(socket).map_err(failed)?.http1_only();
    let waits = config.limits.header_wait;
    server.http_builder().http1().header_read_timeout(waits).max_headers(64).max_buf_size(512 << 10);
    let server = server.first_request_timeout(waits).acceptor(acceptor).handle(handle.clone());
    let task = runtime.spawn(server.serve(service));
    runtime.spawn(runs::watch(Arc::clone(&app)));
    runtime.spawn(crate::jobs::engine::run(Arc::clone(&app)));
    runtime.spawn(crate::inventory::health::run(Arc::clone(&app)));
    extra.spawn(&runtime, &app);
    drop(guard);
    let fingerprint = app.identity.fingerprint();
    let note = Note { url: app.names.local_url(), key: fingerprint, token: local.clone() };
    app.state.write_note(&note)?;
    let url = app.names.base(None);
    tracing::info!(%addr, url, key = %fingerprint, "listening");
    let grace = config.limits.grace;
    let (task, runtime, app) = (Some(task), Some(runtime), Some(app));
    let (boot, tftp) = (config.boot, config.tftp);
    Ok(Running { addr, boot, tftp, url, fingerprint, local_token: local, grace, handle, task, runtime, app })
}

/// Listeners for boot files.
struct Extra {
    http: Option<TcpListener>,
    tftp: Option<tokio::net::UdpSocket>,
}

impl Extra {
    /// Binds what the config names, and writes the ports that it got back into it.
    fn bind(config: &mut Config, runtime: &Runtime) -> Result<Self, StartError> {
        let failed = |listen| move |source| StartError::Listen { listen, source };
        let (mut http, mut tftp) = (None, None);
        if let Some(listen) = &mut config.boot {
            let socket = TcpListener::bind(*listen).map_err(failed(*listen))?;
            *listen = socket.local_addr().map_err(failed(*listen))?;
            http = Some(socket);
        }
        if let Some(listen) = &mut config.tftp {
            let socket = runtime.block_on(tokio::net::UdpSocket::bind(*listen)).map_err(failed(*listen))?;
            *listen = socket.local_addr().map_err(failed(*listen))?;
            tftp = Some(socket);
        }
        Ok(Self { http, tftp })
    }

    fn spawn(self, runtime: &Runtime, app: &Arc<App>) {
        if let Some(http) = self.http {
            let serve = boot::serve_http(http, Arc::clone(app));
            runtime.spawn(async move {
                if let Err(error) = serve.await {
                    tracing::error!(%error, "serving boot files");
                }
            });
        }
        if let Some(tftp) = self.tftp {
            runtime.spawn(boot::tftp::serve(tftp, Arc::clone(app)));
        }
    }
}

/// What boot scripts name; they are the operator's words, never a request's.
fn boot_urls(config: &Config, names: &Names, key: Fingerprint) -> Result<Urls, StartError> {
    let url = |listen| boot::boot_url(config.boot_url.as_deref(), config.url.as_deref(), listen);
    let boot = config.boot.map(url).transpose().map_err(StartError::BootUrl)?;
    if config.boot.is_none() && config.boot_url.is_some() {
        return Err(StartError::BootUrl("needs --boot-listen"));
    }
    let nameless = config.url.is_none() && names.listens_on_all();
    if nameless && (config.boot.is_some() || config.tftp.is_some()) {
        return Err(StartError::BootUrl("is not enough: boot scripts name this server by --url, which is not given"));
    }
    Ok(Urls { boot, server: names.base(None), key })
}

/// Threads for a server.
///
/// # Errors
/// [`StartError::Threads`].
pub(crate) fn runtime() -> Result<Runtime, StartError> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder
        .enable_all()
        .thread_name("server")
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .map_err(StartError::Threads)
}

/// Opens everything a server needs, and makes the local operator's token.
///
/// # Errors
/// [`StartError`].
pub(crate) async fn assemble(
    state: State,
    config: &Config,
    addr: SocketAddr,
) -> Result<(Arc<App>, String), StartError> {
    let limits = config.limits.clone();
    let names = Names::new(config.url.as_deref(), addr)?;
    let identity = Identity::load_or_create(state.layout())?;
    let db = Arc::new(Db::open(&state.layout().database())?);
    let store = open_store(&state, &identity, config)?;
    let url_key = UrlKey::new(&db.secret("url-key", secret::random()?).await?);
    let pin_key = PinKey::new(db.secret("pin-key", secret::random()?).await?);
    let local = secret::token(secret::LOCAL)?;
    let sessions = Sessions::default();
    let now = config.steady.unix();
    let since = i64::try_from(now.saturating_sub(limits.session_lapse.as_secs())).unwrap_or(i64::MAX);
    for row in db.call("reading runs", move |db| crate::db::runs::recent(db, since)).await? {
        sessions.insert(row.session, Session::taken_up(row, now), limits.sessions);
    }
    let mark = db.call("looking for the newest events", |db| Mark::now(db)).await?;
    let urls = boot_urls(config, &names, identity.fingerprint())?;
    let power_key = vault::source(config.power_key.as_deref(), config.credentials.as_deref(), state.layout().dir());
    let power = Arc::new(Desk::new(power_key, config.tools.clone(), config.power));
    let bmc = Bmc { desk: Arc::clone(&power), db: Arc::clone(&db), clock: config.clock.clone() };
    let app = App {
        power,
        boot: Boot::new(urls, state.layout().boot()),
        identity,
        db,
        store,
        sessions,
        waiting: tokio::sync::Mutex::new(Waiting::default()),
        rate: Rate::new(&limits),
        metrics: Metrics::new(mark),
        pin_key,
        names,
        clock: config.clock.clone(),
        steady: config.steady.clone(),
        engine: crate::jobs::engine::Engine::default(),
        hands: config.hands.clone().unwrap_or_else(|| Arc::new(bmc)),
        state,
        local_token: local.hash,
        url_key,
        uploads: Semaphore::new(limits.uploads),
        downloads: Arc::new(Semaphore::new(limits.downloads)),
        large: Semaphore::new(LARGE_BODIES),
        limits,
    };
    Ok((Arc::new(app), local.text))
}

fn open_store(state: &State, identity: &Identity, config: &Config) -> Result<Store, StartError> {
    let dir = state.layout().store();
    if !dir.join("format").exists() {
        Store::create(&dir, identity.public_key())?;
    }
    // The run's own lapse comes first, so that nobody hears of the store's.
    let session_lapse = config.limits.session_lapse * 2;
    let options = Options { session_lapse, clock: config.clock.clone(), ..Options::default() };
    let store = Store::open_with(&dir, Access::Server, options)?;
    let (found, own) = (store.public_key().fingerprint(), identity.fingerprint());
    if found == own { Ok(store) } else { Err(StartError::Key { store: found, own }) }
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where boot files are served over HTTP.
    #[must_use]
    pub const fn boot_addr(&self) -> Option<SocketAddr> {
        self.boot
    }

    /// Where boot files are served over TFTP.
    #[must_use]
    pub const fn tftp_addr(&self) -> Option<SocketAddr> {
        self.tftp
    }

    /// How agents reach it: `--url`, else the listening address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its identity, for `--key`.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// An operator's token that is good while this server runs.
    #[must_use]
    pub fn local_token(&self) -> &str {
        &self.local_token
    }

    /// The order to stop, from any thread.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper { handle: self.handle.clone(), grace: self.grace }
    }

    /// Waits until the server has stopped: by [`Stopper::stop`], or by itself.
    ///
    /// # Errors
    /// What made it stop.
    pub fn wait(mut self) -> io::Result<()> {
        let (Some(runtime), Some(task)) = (&self.runtime, self.task.take()) else { return Ok(()) };
        runtime.block_on(task).map_err(io::Error::other)?
    }

    /// Stops: running requests may finish within the grace.
    ///
    /// # Errors
    /// What went wrong before.
    pub fn stop(self) -> io::Result<()> {
        self.stopper().stop();
        self.wait()
    }

    /// Stops at once, as if the power went.
    pub fn abort(self) {
        self.handle.shutdown();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.shutdown();
        if let Some(app) = &self.app {
            app.state.remove_note();
        }
        // Tasks go first: they hold the application, which holds the lock of the folder.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(std::time::Duration::from_secs(5));
        }
        self.app = None;
    }
}

/// Stops a server from elsewhere.
#[derive(Clone, Debug)]
pub struct Stopper {
    handle: Handle<SocketAddr>,
    grace: std::time::Duration,
}

impl Stopper {
    /// Running requests may finish within the grace.
    pub fn stop(&self) {
        self.handle.graceful_shutdown(Some(self.grace));
    }
}
