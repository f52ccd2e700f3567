//go:build !go1.24

package engineer

import "net/http"

func http2Transport() *http.Transport { return nil }
