//! The store on the boot medium.
//!
//! In: its folder, a pinned key. Out: an image to restore, of a store that was read whole.
//! Promise: damage anywhere on the medium is found before the first write to a disk; without a pinned key nothing is read.

use super::ending::Stop;
use super::here::Here;
use super::network::Network;
use crate::cli::Exit;
use crate::transfer::folder::Shelf;
use ramet_store::{Access, Store};
use ramet_wire::api::ImageInfo;
use ramet_wire::{Fingerprint, ImageRef};
use std::path::PathBuf;

const RENEW: &str = "make the medium anew with ramet-initramfs --with-image";

/// The medium's store, and the key that its images must be signed with.
#[derive(Clone, Debug)]
pub struct Medium {
    /// The folder.
    pub store: PathBuf,
    /// The pinned key.
    pub key: Fingerprint,
}

impl Medium {
    /// The boot medium's store.
    ///
    /// # Errors
    /// [`Stop`] where there is none, or no key is pinned.
    pub fn find(here: &Here, key: Option<Fingerprint>) -> Result<Self, Stop> {
        let store = here.store().ok_or_else(|| {
            let what =
                if here.medium().is_some() { "the boot medium carries no store" } else { "no boot medium was found" };
            Stop::refused(format!("{what}; make one with ramet-initramfs --with-image, or restore from a server"))
        })?;
        let key = key.ok_or_else(|| {
            Stop::refused(format!(
                "clone.key is missing: an image on a medium is restored only with a pinned key; {RENEW} --key"
            ))
        })?;
        Ok(Self { store, key })
    }

    fn open(&self) -> Result<Store, Stop> {
        let failed = |error| Stop::of(Exit::Refused, &self.doing(), &error, &Network::default());
        let store = Store::open(&self.store, Access::Read).map_err(failed)?;
        let found = store.public_key().fingerprint();
        if found == self.key {
            return Ok(store);
        }
        Err(Stop::refused(format!("{}: its key is {found}, pinned is {}; {RENEW} --key", self.doing(), self.key)))
    }

    fn doing(&self) -> String {
        format!("opening the store on the medium ({})", self.store.display())
    }

    /// The images on it, latest versions only.
    ///
    /// # Errors
    /// [`Stop`] for a store that can not be read, or of another key.
    pub fn images(&self) -> Result<Vec<ImageInfo>, Stop> {
        let failed = |error| Stop::of(Exit::Refused, &self.doing(), &error, &Network::default());
        let mut latest: Vec<ImageInfo> = Vec::new();
        for entry in self.open()?.images().map_err(failed)? {
            match latest.iter_mut().find(|info| info.name == entry.info.name) {
                Some(info) if info.number < entry.info.number => *info = entry.info,
                Some(_) => {}
                None => latest.push(entry.info),
            }
        }
        Ok(latest)
    }

    /// The image that was asked for; without a name the only one there is.
    ///
    /// # Errors
    /// [`Stop`] that names all where there are several.
    pub fn image(&self, wanted: Option<&ImageRef>) -> Result<ImageRef, Stop> {
        if let Some(wanted) = wanted {
            return Ok(wanted.clone());
        }
        let images = self.images()?;
        match &images[..] {
            [only] => Ok(ImageRef { name: only.name.clone(), id: Some(only.id) }),
            [] => Err(Stop::refused(format!("the store on the medium holds no image; {RENEW}"))),
            several => {
                let names: Vec<&str> = several.iter().map(|info| info.name.as_str()).collect();
                Err(Stop::refused(format!("the medium holds {}; name one with clone.image", names.join(", "))))
            }
        }
    }

    /// Reads every byte of the store, then opens `image`.
    ///
    /// # Errors
    /// [`Stop`] with the first damage.
    pub fn checked(&self, image: &ImageRef, here: &Here) -> Result<Shelf, Stop> {
        let network = Network::default();
        let failed = |error| Stop::of(Exit::Refused, "checking the medium", &error, &network);
        let report = self.open()?.check(&mut |now| {
            here.meter.set("checking the medium", now.total_bytes, now.done_bytes, 0, 0);
        });
        let report = report.map_err(failed)?;
        if let Some(damage) = report.damages.first() {
            let (object, reason) = (&damage.object, &damage.reason);
            return Err(Stop::refused(format!(
                "the medium is damaged: {object}: {reason}; {RENEW}; nothing was written"
            )));
        }
        Shelf::open(&self.store, image, Some(self.key), &|_| false)
            .map_err(|error| Stop::of(Exit::Refused, &format!("restoring {image} from the medium"), &error, &network))
    }
}
