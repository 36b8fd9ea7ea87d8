//! Reading a file that is not endless: a mistyped path may be a device, or a log of gigabytes.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// All that is in a file, which must not be larger than this many bytes. Blocks.
pub(crate) fn read_at_most(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > most {
        let text = format!("it is larger than the {most} bytes that are read");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}
