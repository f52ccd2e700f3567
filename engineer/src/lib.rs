//! The library that an app links.
