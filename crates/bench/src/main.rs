//! Measures, with the allocator of the consumer and of the analytics.

fn main() -> anyhow::Result<()> {
    bench::main()
}
