//! Arrow Flight SQL: the same queries, keys and guards over gRPC.
