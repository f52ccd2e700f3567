//! `engr.json`: found, read, checked and edited.

mod app;
mod file;

pub use app::{AppConfig, Arch};
pub use file::EngrFile;
