package placementrun

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(Suite(m)) }

// soon bounds what happens at once or not at all.
const soon = 10 * time.Second

func newFront(t *testing.T) *Front {
	t.Helper()
	f, err := StartFront(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// speaker listens on loopback and tells its name to whoever connects. It repeats what
// it hears after that.
func speaker(t *testing.T, name string) (address string) {
	t.Helper()
	listener := listen(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(connection, name)
			go func() {
				_, _ = io.Copy(connection, connection)
				_ = connection.Close()
			}()
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-done
	})
	return listener.Addr().String()
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

func dial(t *testing.T, f *Front) net.Conn {
	t.Helper()
	connection, err := tryDial(t, f)
	if err != nil {
		t.Fatal(err)
	}
	until(t, connection, soon)
	t.Cleanup(func() { _ = connection.Close() })
	return connection
}

func tryDial(t *testing.T, f *Front) (net.Conn, error) {
	t.Helper()
	return (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(f.URL(), "https://"))
}

// refuses wants a new connection to be reset, which a client may see early or late.
func refuses(t *testing.T, f *Front) {
	t.Helper()
	connection, err := tryDial(t, f)
	if errors.Is(err, syscall.ECONNRESET) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	isReset(t, connection)
	_ = connection.Close()
}

// hears reads from a connection as much as is expected, and compares.
func hears(t *testing.T, connection net.Conn, want string) {
	t.Helper()
	heard := make([]byte, len(want))
	if _, err := io.ReadFull(connection, heard); err != nil || string(heard) != want {
		t.Errorf("heard %q, %v; want %q", heard, err, want)
	}
}

// isReset wants the other end to have reset the connection.
func isReset(t *testing.T, connection net.Conn) {
	t.Helper()
	if _, err := connection.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("reading ended with %v, want a reset", err)
	}
}

func TestConnectionsAreHandedToTheReplicasInTurn(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	f.HandTo(speaker(t, "a"), speaker(t, "b"))
	for _, want := range []string{"a", "b", "a"} {
		connection := dial(t, f)
		hears(t, connection, want)
		if _, err := io.WriteString(connection, "and back"); err != nil {
			t.Fatal(err)
		}
		hears(t, connection, "and back")
	}
	if taken := f.Taken(); taken != 3 {
		t.Errorf("%d connections were taken, want 3", taken)
	}
}

func TestAConnectionToAReplicaThatIsGoneIsHandedToNoOther(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	refuses(t, f)
	gone := listen(t)
	_ = gone.Close()
	f.HandTo(gone.Addr().String(), speaker(t, "b"))
	hears(t, dial(t, f), "b")
	refuses(t, f)
}

func TestAFaultHasOpenConnectionsCutAndNewOnesUntilItIsMended(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		fault Fault
		meets func(*testing.T, *Front) (lasts net.Conn)
	}{
		"down": {Down{}, func(t *testing.T, f *Front) net.Conn {
			t.Helper()
			refuses(t, f)
			return nil
		}},
		"hanging": {Hanging{}, func(t *testing.T, f *Front) net.Conn {
			t.Helper()
			connection := dial(t, f)
			until(t, connection, 100*time.Millisecond)
			if n, err := connection.Read(make([]byte, 1)); !isTimeout(err) {
				t.Errorf("read %d bytes, %v", n, err)
			}
			until(t, connection, soon)
			return connection
		}},
		"garbage": {Garbage{}, func(t *testing.T, f *Front) net.Conn {
			t.Helper()
			connection := dial(t, f)
			hears(t, connection, "220 this is no webhook\r\n\x00\xff")
			return connection
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFront(t)
			f.HandTo(speaker(t, "a"))
			before := dial(t, f)
			hears(t, before, "a")
			f.Fail(c.fault)
			isReset(t, before)
			during := c.meets(t, f)
			f.Mend()
			if during != nil {
				isReset(t, during)
			}
			hears(t, dial(t, f), "a")
		})
	}
}

func until(t *testing.T, connection net.Conn, limit time.Duration) {
	t.Helper()
	if err := connection.SetDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
}

func isTimeout(err error) bool {
	timeout, is := errors.AsType[net.Error](err)
	return is && timeout.Timeout()
}

func TestAnImpostorIsBelievedByWhomItsCertificateVerifies(t *testing.T) {
	t.Parallel()
	strange, err := Strange()
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(strange.Leaf)
	now := time.Now()
	expired, err := sign(nil, now.Add(-time.Hour), now.Add(-time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	lapsed := x509.NewCertPool()
	lapsed.AddCert(expired.Leaf)
	cases := map[string]struct {
		shown tls.Certificate
		roots *x509.CertPool
		want  error
	}{
		"one whom the client knows":        {strange, roots, nil},
		"one whom nobody knows":            {strange, x509.NewCertPool(), x509.UnknownAuthorityError{}},
		"one whose certificate is expired": {expired, lapsed, x509.CertificateInvalidError{Reason: x509.Expired}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFront(t)
			f.Fail(Impostor{Certificate: c.shown, Answer: "anything"})
			transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: c.roots, MinVersion: tls.VersionTLS13}}
			t.Cleanup(transport.CloseIdleConnections)
			body, err := post(t, &http.Client{Transport: transport, Timeout: soon}, f.URL())
			switch {
			case c.want == nil:
				if err != nil || body != "anything" {
					t.Errorf("answered %q, %v", body, err)
				}
			case err == nil:
				t.Errorf("answered %q, want an error like %v", body, c.want)
			case !strings.Contains(err.Error(), reasonOf(c.want)):
				t.Errorf("refused with %v, want %v", err, c.want)
			}
		})
	}
}

// reasonOf is what of an error of verification does not depend on the certificate.
func reasonOf(err error) string {
	if _, is := errors.AsType[x509.UnknownAuthorityError](err); is {
		return "certificate signed by unknown authority"
	}
	return "certificate has expired"
}

func post(t *testing.T, client *http.Client, url string) (string, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

func TestClosingAFrontEndsEveryConnection(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	f.HandTo(speaker(t, "a"))
	connection := dial(t, f)
	hears(t, connection, "a")
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	isReset(t, connection)
	if err := f.Close(); err != nil {
		t.Errorf("closing it again: %v", err)
	}
}
