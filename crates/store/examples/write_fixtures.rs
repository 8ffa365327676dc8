//! Writes the fixtures of schema versions: `cargo run -p bessemer-store --example write_fixtures -- 7 8` after adding
//! migrations 7 and 8. A fixture that is there already stays as it was released.

use std::path::Path;

#[tokio::main]
async fn main() {
    let versions: Vec<i64> = std::env::args()
        .skip(1)
        .filter_map(|version| version.parse().ok())
        .collect();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    match bessemer_store::testing::write_fixtures(&directory, &versions).await {
        Ok(()) => println!("{versions:?} written to {}", directory.display()),
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    }
}
