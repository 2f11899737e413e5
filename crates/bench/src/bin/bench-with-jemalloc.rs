//! The same program with the allocator of ingest: serves what ingest is compared with.

use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> anyhow::Result<()> {
    bench::main()
}
