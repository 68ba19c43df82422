"""What tests are built from: tiny events and files of every detector, records, batches."""
