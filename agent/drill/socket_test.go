package drill

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/agent"
)

// folder is one with a name that is short enough for a socket.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "drill") //nolint:usetesting // a test's own folder has too long a name for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// orders answers every order with err.
type orders struct{ err error }

func (o orders) Begin(context.Context, agent.DrillOrder) (*agent.DrillRun, bool, error) {
	return nil, false, o.err
}

func (o orders) Last(context.Context) (*agent.DrillRun, error) { return nil, o.err }

// serve takes orders on a new socket until the test ends.
func serve(t *testing.T, to Orders) Client {
	t.Helper()
	socket := filepath.Join(folder(t), "drill.sock")
	listener, err := Listen(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- Serve(ctx, listener, to) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Errorf("serving ended with %v", err)
		}
		if _, err := os.Lstat(socket); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is still there: %v", err)
		}
	})
	return Client{Socket: socket}
}

func TestTheSocketIsItsOwnersAlone(t *testing.T) {
	t.Parallel()
	client := serve(t, orders{})
	info, err := os.Lstat(client.Socket)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("the socket has mode %s, want 0600", info.Mode())
	}
	files, err := os.ReadDir(filepath.Dir(client.Socket))
	if err != nil || len(files) != 1 {
		t.Errorf("the folder holds %v, %v; want the socket alone", files, err)
	}
}

func TestASocketOfAnAgentThatWasKilledIsReplacedAndOneThatIsInUseIsNot(t *testing.T) {
	t.Parallel()
	client := serve(t, orders{})
	if listener, err := Listen(t.Context(), client.Socket); !errors.Is(err, ErrInUse) {
		t.Errorf("listening a second time gives %v, %v; want %v", listener, err, ErrInUse)
	}

	left := filepath.Join(folder(t), "drill.sock")
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", left)
	if err != nil {
		t.Fatal(err)
	}
	if unix, is := listener.(*net.UnixListener); is {
		unix.SetUnlinkOnClose(false)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	listener, err = Listen(t.Context(), left)
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Error(err)
	}
}

func TestAFolderThatIsNotThereIsNamed(t *testing.T) {
	t.Parallel()
	_, err := Listen(t.Context(), filepath.Join(folder(t), "no", "drill.sock"))
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the error is %v, want that of the folder", err)
	}
}

func TestARefusalReachesTheClientInWords(t *testing.T) {
	t.Parallel()
	client := serve(t, orders{errors.Join(agent.ErrDrillRefused, errors.New("the node is under notice"))})
	for name, ask := range map[string]func() (*Stream, error){
		"an order":             func() (*Stream, error) { return client.Begin(t.Context(), agent.DrillOrder{Notice: time.Minute}) },
		"a look at a last one": func() (*Stream, error) { return client.Attach(t.Context()) },
	} {
		if _, err := ask(); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "under notice") {
			t.Errorf("%s is answered with %v", name, err)
		}
	}
}

func TestAClientWithoutAnAgentSaysWhereItLooked(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(folder(t), "drill.sock")
	_, err := Client{Socket: socket}.Attach(t.Context())
	if err == nil || !strings.Contains(err.Error(), socket) {
		t.Errorf("the error is %v, want it to name %q", err, socket)
	}
}
