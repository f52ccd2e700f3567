//go:build go1.24

package engineer

import "net/http"

// setProtocols adds HTTP/2 without TLS, for clients that know of it, to what http.Server speaks.
func setProtocols(server *http.Server) {
	server.Protocols = new(http.Protocols)
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetHTTP2(true)
	server.Protocols.SetUnencryptedHTTP2(true)
}
