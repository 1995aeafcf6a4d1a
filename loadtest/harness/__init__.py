"""Side-by-side load tests of the gateway, its peers and a bare Pingora proxy."""
