//! x
//!
//! y
/// doc
pub fn text() -> String {
    String::new()
}
