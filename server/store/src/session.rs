//! Captures that are under way, and those that were.
//!
//! In: a capture that begins, goes on, ends or falls silent. Out: which packs must stay because of it.
//! Promise: a session is known again after a crash; it lapses only when it was not renewed for the whole limit.

use crate::error::{Doing, StoreError};
use crate::files::{Desk, names, random, read_sealed};
use crate::options::{Options, unix};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// A capture's session in the store. Not a secret: the server has its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub [u8; 16]);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&ramet_wire::id::hex(&self.0))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

impl FromStr for SessionId {
    type Err = ramet_wire::id::BadHex;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        ramet_wire::id::unhex(text).map(Self)
    }
}

/// What a session's file says; times in seconds since 1970.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Session {
    started: u64,
    renewed: u64,
    ended: bool,
}

/// All sessions of a store.
#[derive(Debug)]
pub(crate) struct Sessions {
    dir: PathBuf,
    desk: Desk,
    options: Options,
    all: Mutex<HashMap<SessionId, (Session, u64)>>, // with the renewal that its file knows
}

impl Sessions {
    pub(crate) fn open(dir: PathBuf, desk: Desk, options: Options) -> Result<Self, StoreError> {
        let mut all = HashMap::new();
        for name in names(&dir)? {
            let Ok(id) = name.parse::<SessionId>() else { continue };
            match read_sealed::<Session>(&dir.join(&name)) {
                Ok(Some(session)) => drop(all.insert(id, (session, session.renewed))),
                Ok(None) => {}
                // A damaged session is held to be alive from ever until now: that keeps more, never less.
                Err(StoreError::Damaged { .. }) => {
                    let now = options.clock.unix();
                    all.insert(id, (Session { started: 0, renewed: now, ended: false }, 0));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Self { dir, desk, options, all: Mutex::new(all) })
    }

    fn all(&self) -> MutexGuard<'_, HashMap<SessionId, (Session, u64)>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lives(&self, session: &Session, now: u64) -> bool {
        !session.ended && now.saturating_sub(session.renewed) < self.options.session_lapse.as_secs()
    }

    pub(crate) fn start(&self) -> Result<SessionId, StoreError> {
        let id = SessionId(random().doing(|| "opening a session".to_owned())?);
        let now = self.options.clock.unix();
        let session = Session { started: now, renewed: now, ended: false };
        self.desk.write_sealed(&self.dir.join(id.to_string()), &session)?;
        self.all().insert(id, (session, now));
        Ok(id)
    }

    /// Says that the session lives; writes its file only every quarter of the limit.
    pub(crate) fn renew(&self, id: SessionId) -> Result<(), StoreError> {
        let now = self.options.clock.unix();
        let mut all = self.all();
        let (session, known) = all.get_mut(&id).ok_or(StoreError::NoSession(id))?;
        if !self.lives(session, now) {
            return Err(StoreError::NoSession(id));
        }
        session.renewed = now;
        if now.saturating_sub(*known) * 4 >= self.options.session_lapse.as_secs().max(1) {
            *known = now;
            let session = *session;
            drop(all);
            self.desk.write_sealed(&self.dir.join(id.to_string()), &session)?;
        }
        Ok(())
    }

    pub(crate) fn end(&self, id: SessionId) -> Result<(), StoreError> {
        let now = self.options.clock.unix();
        let mut all = self.all();
        let (session, _) = all.get_mut(&id).ok_or(StoreError::NoSession(id))?;
        if session.ended {
            return Ok(());
        }
        if self.lives(session, now) {
            session.renewed = now;
        }
        session.ended = true;
        let session = *session;
        drop(all);
        self.desk.write_sealed(&self.dir.join(id.to_string()), &session)
    }

    /// Sessions that live.
    pub(crate) fn live(&self) -> usize {
        let now = self.options.clock.unix();
        self.all().values().filter(|(session, _)| self.lives(session, now)).count()
    }

    /// Some session that began no later than `then` still lives at `now`.
    pub(crate) fn any_live_since(&self, then: u64, now: u64) -> bool {
        self.all().values().any(|(session, _)| session.started <= then && self.lives(session, now))
    }

    /// A pack written at `written` may be the progress of a session that lives, or ended less than `keep` ago.
    pub(crate) fn keeps(&self, written: SystemTime, now: u64, keep: Duration) -> bool {
        let written = unix(written);
        let young = |last: u64| last.saturating_add(keep.as_secs()) > now;
        young(written)
            || self.all().values().any(|(session, _)| {
                let last = if self.lives(session, now) { now } else { session.renewed };
                // A minute of grace at both ends: the file's time comes from another clock.
                let during = session.started.saturating_sub(60) <= written && written <= last.saturating_add(60);
                during && (self.lives(session, now) || young(last))
            })
    }

    /// Forgets sessions over for more than `keep`.
    pub(crate) fn forget(&self, now: u64, keep: Duration) -> Result<(), StoreError> {
        let mut all = self.all();
        let over =
            |session: &Session| !self.lives(session, now) && session.renewed.saturating_add(keep.as_secs()) <= now;
        let gone: Vec<SessionId> = all.iter().filter(|(_, (s, _))| over(s)).map(|(id, _)| *id).collect();
        for id in gone {
            self.desk.remove(&self.dir.join(id.to_string())).doing(|| format!("removing session {id}"))?;
            all.remove(&id);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Clock, Steps};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::UNIX_EPOCH;

    fn sessions(dir: &std::path::Path, now: &Arc<AtomicU64>) -> Sessions {
        let now = Arc::clone(now);
        let clock = Clock::from_fn(move || UNIX_EPOCH + Duration::from_secs(now.load(Ordering::SeqCst)));
        let options = Options { clock, session_lapse: Duration::from_secs(600), ..Options::default() };
        Sessions::open(dir.to_owned(), Desk::new(dir.to_owned(), Steps::default()), options).unwrap()
    }

    #[test]
    fn a_session_lapses_when_it_is_not_renewed_and_survives_a_crash_when_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let now = Arc::new(AtomicU64::new(1_000_000));
        let first = sessions(dir.path(), &now);
        let id = first.start().unwrap();
        for _ in 0..5 {
            now.fetch_add(500, Ordering::SeqCst);
            first.renew(id).unwrap();
        }
        let again = sessions(dir.path(), &now);
        again.renew(id).unwrap();
        assert_eq!(again.live(), 1);
        now.fetch_add(600, Ordering::SeqCst);
        assert!(matches!(again.renew(id), Err(StoreError::NoSession(_))));
        assert_eq!(again.live(), 0);
        assert!(matches!(again.renew(SessionId([0; 16])), Err(StoreError::NoSession(_))));
    }

    #[test]
    fn packs_stay_while_their_session_lives_and_for_the_time_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let now = Arc::new(AtomicU64::new(1_000_000));
        let sessions = sessions(dir.path(), &now);
        let id = sessions.start().unwrap();
        let written = UNIX_EPOCH + Duration::from_secs(1_000_100);
        let keep = Duration::from_secs(50);
        now.store(1_000_500, Ordering::SeqCst);
        assert!(sessions.keeps(written, 1_000_500, keep));
        sessions.end(id).unwrap();
        assert!(sessions.keeps(written, 1_000_549, keep));
        assert!(!sessions.keeps(written, 1_000_551, keep));
        sessions.forget(1_000_551, keep).unwrap();
        assert!(names(dir.path()).unwrap().is_empty());
    }
}
