"""A job queue in an S3 bucket: at least once delivery, exactly one outcome per attempt."""
