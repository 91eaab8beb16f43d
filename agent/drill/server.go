package drill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/ebbtide/ebbtide/agent"
)

// The one resource of the socket: POST orders a drill, GET follows the last one. The
// reply is one JSON object a line, each an [agent.DrillEvent].
const (
	path = "/drill"
	// attachedHeader is there when the reply is about a drill that was under way.
	attachedHeader = "Ebbtide-Attached"
	// maxOrder bounds the order, in bytes.
	maxOrder = 4 << 10
)

const (
	// probeTimeout bounds the question whether a socket has a listener.
	probeTimeout = time.Second
	// goodbye is how long the last words of a drill may take to be read when the agent
	// ends.
	goodbye = time.Second
)

// Orders is what a server passes orders on to; see [agent.Drills].
type Orders interface {
	Begin(ctx context.Context, order agent.DrillOrder) (run *agent.DrillRun, begun bool, err error)
	Last(ctx context.Context) (*agent.DrillRun, error)
}

var _ Orders = (*agent.Drills)(nil)

// ErrInUse is why a socket is not listened on: another agent does.
var ErrInUse = errors.New("another agent listens on it")

// Listen makes the socket, with mode 0600. What an agent left there that was killed is
// replaced; the folder has to be there.
func Listen(ctx context.Context, socket string) (net.Listener, error) {
	listener, err := listen(ctx, socket)
	if err != nil {
		return nil, fmt.Errorf("listening on socket %q: %w", socket, err)
	}
	return listener, nil
}

func listen(ctx context.Context, socket string) (net.Listener, error) {
	dialer := net.Dialer{Timeout: probeTimeout}
	if connection, err := dialer.DialContext(ctx, "unix", socket); err == nil {
		_ = connection.Close()
		return nil, ErrInUse
	}
	// A socket is made with the mode that the umask leaves, so it is made where nobody
	// else can reach it, and comes to its place when it has its own.
	private, err := os.MkdirTemp(filepath.Dir(socket), "drill")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(private) }()
	made := filepath.Join(private, "s")
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", made)
	if err != nil {
		return nil, err
	}
	if unix, is := listener.(*net.UnixListener); is {
		unix.SetUnlinkOnClose(false) // it has another name by then
	}
	if err := errors.Join(os.Chmod(made, 0o600), os.Rename(made, socket)); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return placed{listener, socket}, nil
}

// placed is a listener whose socket was moved to its place after it was made.
type placed struct {
	net.Listener

	socket string
}

// Close removes the socket, too.
func (p placed) Close() error {
	return errors.Join(p.Listener.Close(), ignoreAbsent(os.Remove(p.socket)))
}

func ignoreAbsent(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// Serve takes orders on listener until ctx ends, and returns nil then. It closes the
// listener, and lets those who follow a drill that has ended read its last words.
func Serve(ctx context.Context, listener net.Listener, orders Orders) error {
	server := &http.Server{Handler: handler(orders), ReadHeaderTimeout: 5 * time.Second}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbye)
		defer cancel()
		_ = server.Shutdown(last)
		_ = server.Close()
	})
	err := server.Serve(listener)
	if !stop() {
		<-ended
	}
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving drills: %w", err)
	}
	return nil
}

func handler(orders Orders) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
		var order agent.DrillOrder
		decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxOrder))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&order); err != nil {
			http.Error(w, "reading the order: "+err.Error(), http.StatusBadRequest)
			return
		}
		run, begun, err := orders.Begin(r.Context(), order)
		if err != nil {
			refuse(w, err)
			return
		}
		tell(w, run.Events(r.Context()), !begun)
	})
	mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
		run, err := orders.Last(r.Context())
		if err != nil {
			refuse(w, err)
			return
		}
		tell(w, run.Events(r.Context()), true)
	})
	return mux
}

func refuse(w http.ResponseWriter, err error) {
	code := http.StatusBadRequest
	if errors.Is(err, agent.ErrDrillRefused) {
		code = http.StatusConflict
	}
	http.Error(w, err.Error(), code)
}

// tell writes each event as it happens.
func tell(w http.ResponseWriter, events iter.Seq[agent.DrillEvent], attached bool) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	if attached {
		w.Header().Set(attachedHeader, "true")
	}
	encoder, control := json.NewEncoder(w), http.NewResponseController(w)
	for event := range events {
		if encoder.Encode(event) != nil || control.Flush() != nil {
			return // nobody reads any more
		}
	}
}
