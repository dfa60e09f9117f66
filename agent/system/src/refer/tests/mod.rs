//! Files before and after, as tables, and beside what the tools themselves would write.
//!
//! In: trees with every file that names ids. Out: nothing.
//! Promise: no old id remains in any file that is rewritten, and nothing else in it changes.

mod blocked;
mod files;
mod words;

use super::{Id, Needs, Of, Renamed, blockers, follow};
use crate::Root;
use crate::testing::plant;
use std::path::Path;

type Pair = (&'static str, &'static str);
const ROOT: Pair = ("0a1b2c3d-1111-4aaa-8bbb-00112233aabb", "f00dfeed-2222-4ccc-9ddd-ffeeddccbbaa");
const SWAP: Pair = ("12121212-3434-4565-8787-909090909090", "98989898-7676-4545-a3a3-121212121212");
const ESP: Pair = ("1A2B-3C4D", "99E8-00F1");
const DATA: Pair = ("01D9A1B2C3D4E5F6", "7700112233445566");
const PART: Pair = ("5e1f5e1f-0001-4002-8003-000400050006", "0dd50dd5-a00a-4bb0-9cc0-d00de00ef00f");
const MBR: Pair = ("0a1b2c3d-02", "deadbeef-02");

fn renamed() -> Renamed {
    let id = |(pair, name, of, needs): (Pair, &str, Of, Option<Needs>)| Id {
        old: pair.0.to_owned(),
        new: pair.1.to_owned(),
        name: name.to_owned(),
        of,
        needs,
    };
    let ids = [
        (ROOT, "disk 0 partition 2", Of::Content, Some(Needs::ExtSeed)),
        (SWAP, "disk 0 partition 3", Of::Content, None),
        (ESP, "disk 0 partition 1", Of::Content, None),
        (DATA, "disk 0 partition 4", Of::Content, None),
        (PART, "disk 0 partition 2", Of::Partition, None),
        (MBR, "disk 1 partition 2", Of::Partition, None),
    ];
    Renamed::new(ids.map(id).into())
}

/// All old ids as the new ones, where no word around them matters.
fn replaced(text: &str) -> String {
    let pairs = [ROOT, SWAP, ESP, DATA, PART, MBR];
    pairs.iter().fold(text.to_owned(), |text, (old, new)| {
        text.replace(old, new).replace(&old.replace('-', "\\x2d"), &new.replace('-', "\\x2d"))
    })
}

fn opened(path: &Path) -> Root {
    Root::open(path).unwrap()
}

fn read(root: &Path, path: &str) -> String {
    std::fs::read_to_string(root.join(path.trim_start_matches('/'))).unwrap()
}
