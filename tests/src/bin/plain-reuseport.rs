//! An app that binds its port with `SO_REUSEPORT`, and so beside another version of itself.

#[path = "plain/address.rs"]
mod address;
#[path = "plain/serve.rs"]
mod serve;

use std::io;

use socket2::{Domain, Socket, Type};

fn main() -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address::local().into())?;
    socket.listen(1024)?;
    serve::serve(&socket.into())
}
