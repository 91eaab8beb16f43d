package program

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
)

// serve runs the service until ctx ends.
func serve(ctx context.Context, o options, stdout io.Writer) error {
	log := &trace{w: stdout, last: map[string]int{}}
	o.listen.Trace = log.request
	service, err := o.own.Start(o.listen)
	if err != nil {
		return err
	}
	defer service.Close()
	log.printf("Serving the metadata service at %s", service.URL())
	if o.control != "" {
		address, stop, err := serveControl(ctx, service.Control(), o.control)
		if err != nil {
			return err
		}
		defer stop()
		log.printf("Serving the control endpoint at http://%s", address)
	}
	service.SetClockOffset(o.clockOffset)
	if err := hold(ctx, service, o, log); err != nil {
		return err
	}
	summarise(stdout, service.Status())
	return nil
}

// hold keeps the fault of the command line for as long as asked, and returns when ctx
// ends.
func hold(ctx context.Context, service Service, o options, log *trace) error {
	name := o.fault.Fault
	if name == "" {
		<-ctx.Done()
		return nil
	}
	if err := service.SetFault(name); err != nil {
		return err
	}
	log.printf("Fault %s: %s", name, o.fault.Doc)
	if o.faultFor > 0 {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(o.faultFor):
		}
		// The control endpoint may have put another fault in its place.
		if service.Fault() == name {
			if err := service.ClearFault(); err != nil {
				return err
			}
			log.printf("Fault %s is over", name)
		}
	}
	<-ctx.Done()
	return nil
}

func serveControl(ctx context.Context, control http.Handler, address string) (bound string, stop func(), err error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return "", nil, fmt.Errorf("listening on %q: %w", address, err)
	}
	server := &http.Server{Handler: control, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l) // ends when stop closes it
	}()
	return l.Addr().String(), func() {
		_ = server.Close()
		<-done
	}, nil
}

func summarise(w io.Writer, status metadatatest.Status) {
	_, _ = fmt.Fprintf(w, "\nRequests (at most %d in any ten seconds):\n", status.PeakPer10s)
	for _, key := range slices.Sorted(maps.Keys(status.Requests)) {
		_, _ = fmt.Fprintf(w, "%8d  %s\n", status.Requests[key], key)
	}
	if !status.NoticeReadAt.IsZero() {
		_, _ = fmt.Fprintf(w, "The notice was first read at %s.\n", status.NoticeReadAt.Format(timeOfDay))
	}
}

const timeOfDay = "15:04:05.000"

// trace prints a line for each thing that happens. Polls that are answered as
// the one before are not worth a line each.
type trace struct {
	mu   sync.Mutex
	w    io.Writer
	last map[string]int // the status last answered, by method and path
}

func (t *trace) printf(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, _ = fmt.Fprintf(t.w, time.Now().Format(timeOfDay)+"  "+format+"\n", args...)
}

func (t *trace) request(r metadatatest.Request) {
	key := r.Method + " " + r.Path
	t.mu.Lock()
	last, seen := t.last[key]
	t.last[key] = r.Status
	t.mu.Unlock()
	if seen && last == r.Status {
		return
	}
	if r.Status == 0 {
		t.printf("%s: no answer", key)
		return
	}
	t.printf("%s: %d", key, r.Status)
}
