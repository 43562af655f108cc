"""A scoring service: entity keys or rows in, H2O predictions out, by cenote in this process (no JVM)."""
