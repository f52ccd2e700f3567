//! engr
fn main() {}
