package placementrun

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
)

// Fault is what a [Front] does with a connection in the place of handing it on.
type Fault interface {
	// meet takes a connection to its end. It returns when the connection is closed.
	meet(connection net.Conn)
}

// Down is a host that nobody listens on: every connection is reset.
type Down struct{}

func (Down) meet(connection net.Conn) { reset(connection) }

// Hanging is a host that has stopped: connections are taken, and nothing is answered.
type Hanging struct{}

func (Hanging) meet(connection net.Conn) { _, _ = io.Copy(io.Discard, connection) }

// Garbage is a host that speaks something else than TLS.
type Garbage struct{}

func (Garbage) meet(connection net.Conn) {
	_, _ = connection.Write([]byte("220 this is no webhook\r\n\x00\xff"))
	_, _ = io.Copy(io.Discard, connection)
}

// Impostor is a server with a certificate of its own, which answers every request with
// the same.
type Impostor struct {
	// Certificate is what it shows; see [Installation.Served] for the right one.
	Certificate tls.Certificate
	// Answer is the body of its answers, whose status is 200.
	Answer string
}

func (i Impostor) meet(connection net.Conn) {
	secured := tls.Server(connection, &tls.Config{Certificates: []tls.Certificate{i.Certificate}, MinVersion: tls.VersionTLS13})
	requests := bufio.NewReader(secured)
	for {
		request, err := http.ReadRequest(requests)
		if err != nil {
			return // The client does not trust the certificate, or has no more to ask.
		}
		if _, err := io.Copy(io.Discard, request.Body); err != nil {
			return
		}
		_, err = fmt.Fprintf(secured, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(i.Answer), i.Answer)
		if err != nil {
			return
		}
	}
}
