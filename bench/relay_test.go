package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"
)

// target is a server that says its name.
func target(t *testing.T, name string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) }))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func newTestRelay(t *testing.T, targets ...string) *relay {
	t.Helper()
	r, err := startRelay(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.close(); err != nil {
			t.Error(err)
		}
	})
	r.handTo(targets...)
	return r
}

// asker is a client that keeps its connection, as an API server does.
func asker(t *testing.T, r *relay) func() (string, error) {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport, Timeout: patience}
	return func() (string, error) {
		request, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodPost, "http://"+r.address(), http.NoBody)
		if err != nil {
			return "", err
		}
		response, err := client.Do(request)
		if err != nil {
			return "", err
		}
		body, err := io.ReadAll(response.Body)
		return string(body), errors.Join(err, response.Body.Close())
	}
}

func TestARelayHandsEachNewConnectionToTheNextReplica(t *testing.T) {
	t.Parallel()
	r := newTestRelay(t, target(t, "first"), target(t, "second"))
	ask := asker(t, r)
	var answers []string
	for range 4 {
		// A POST is not sent again by the client if the connection that it chose is gone:
		// an error says that renew returned before the client knew.
		for range 2 {
			answer, err := ask()
			if err != nil {
				t.Fatal(err)
			}
			answers = append(answers, answer)
		}
		if err := r.renew(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(answers)
	if want := []string{"first", "first", "first", "first", "second", "second", "second", "second"}; !slices.Equal(answers, want) {
		t.Errorf("answers %q, want %q", answers, want)
	}
	if n := r.connections(); n != 4 {
		t.Errorf("%d connections for four rounds", n)
	}
}

func TestRenewingWaitsForTheOtherEndAndNoLongerThanItMay(t *testing.T) {
	t.Parallel()
	r := newTestRelay(t, target(t, "first"))
	connection, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", r.address())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(connection, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := connection.Read(make([]byte, 1)); err != nil { // it is carried
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := r.renew(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("renewing what the other end keeps open ended with %v", err)
	}
	if err := connection.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.renew(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestARelayWithoutReplicasClosesWhatItGets(t *testing.T) {
	t.Parallel()
	r := newTestRelay(t)
	if answer, err := asker(t, r)(); err == nil {
		t.Errorf("answered %q", answer)
	}
	if n := r.connections(); n != 0 {
		t.Errorf("%d connections to nobody", n)
	}
}
