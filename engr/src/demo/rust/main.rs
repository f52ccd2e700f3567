use std::convert::Infallible;

use http_body_util::Full;
use hyper::Response;
use hyper::body::Bytes;
use hyper::service::service_fn;

const GREETING: &str = "hello from version 1";

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let listener = engineer::listen("0.0.0.0:8080")?;
    let service = service_fn(|_request| async {
        let release = engineer::version().unwrap_or(0);
        let instance = engineer::instance().unwrap_or_default();
        let text = format!("{GREETING}, release {release} on {instance}\n");
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(text))))
    });
    println!("serving");
    engineer::http::serve(listener, service).await?;
    println!("done");
    Ok(())
}
