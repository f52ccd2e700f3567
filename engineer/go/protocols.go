//go:build !go1.24

package engineer

import "net/http"

// Before Go 1.24 http.Server has no HTTP/2 without TLS.
func setProtocols(*http.Server) {}
