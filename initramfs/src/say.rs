//! Lines to people.
//!
//! In: what `println!` takes. Out: a line on standard output (`say!`) or standard error (`tell!`).
//! Promise: a reader that went away, as `| head` does, never ends a build half way.

/// A line on standard output.
macro_rules! say {
    ($($words:tt)*) => {{
        let _ = ::std::io::Write::write_fmt(&mut ::std::io::stdout(), format_args!("{}\n", format_args!($($words)*)));
    }};
}

/// A line on standard error.
macro_rules! tell {
    ($($words:tt)*) => {{
        let _ = ::std::io::Write::write_fmt(&mut ::std::io::stderr(), format_args!("{}\n", format_args!($($words)*)));
    }};
}
