package aws

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/agent/aws/awstest"
	"github.com/ebbtide/ebbtide/agent/metadata"
)

// direct is a fake that is asked without a network, so that time can be virtual, and that
// notes each request as a network would see it.
type direct struct {
	server *awstest.Server

	// work is done where time is real: what the fake makes, such as a channel, must not
	// be of the bubble.
	work chan func()
	done chan struct{}
	turn sync.Mutex

	mu     sync.Mutex
	sent   []sent
	broken string // the item that is answered with 500; empty: none
}

func newDirect(t *testing.T) *direct {
	t.Helper()
	d := &direct{server: awstest.New(t), work: make(chan func()), done: make(chan struct{})}
	t.Cleanup(func() { close(d.work) })
	go func() {
		for f := range d.work {
			f()
			d.done <- struct{}{}
		}
	}()
	return d
}

// outside runs f outside of the bubble.
func (d *direct) outside(f func()) {
	d.turn.Lock()
	defer d.turn.Unlock()
	d.work <- f
	<-d.done
}

// set puts a fault in the way; none if it is empty.
func (d *direct) set(t *testing.T, f awstest.Fault) {
	t.Helper()
	var err error
	d.outside(func() {
		if f == "" {
			err = d.server.ClearFault()
			return
		}
		err = d.server.SetFault(f)
	})
	if err != nil {
		t.Error(err)
	}
}

// sent is one request.
type sent struct {
	at           time.Time
	method, path string
}

// log is what was sent so far.
func (d *direct) log() []sent {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.sent)
}

// note notes a request, and says whether it is for the item that is broken.
func (d *direct) note(ask metadata.Request) (broken bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sent = append(d.sent, sent{time.Now(), ask.Method, ask.Path})
	return d.broken != "" && ask.Path == itemsPath+d.broken
}

// breakDown breaks one item; none if it is empty.
func (d *direct) breakDown(item string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken = item
}

// step is what a metadata.Client allows each step of a request.
const step = 500 * time.Millisecond

// Do implements service.
func (d *direct) Do(ctx context.Context, ask metadata.Request) (metadata.Reply, error) {
	if ask.Method == "" {
		ask.Method = http.MethodGet
	}
	x := metadata.Exchange{Method: ask.Method, Path: ask.Path}
	if x.Err = ctx.Err(); x.Err != nil {
		return metadata.Reply{}, metadata.Explain(x, hints)
	}
	if d.note(ask) {
		x.Status = http.StatusInternalServerError
		return metadata.Reply{}, metadata.Explain(x, hints)
	}
	request := httptest.NewRequestWithContext(ctx, ask.Method, ask.Path, http.NoBody)
	maps.Copy(request.Header, ask.Header)
	recorder := httptest.NewRecorder()
	var way obstacle
	d.outside(func() { // in one step, as the fault may end at any moment
		if way = obstacleOf(d.server.Fault(), ask.Method); way == nil {
			d.server.ServeHTTP(recorder, request)
		}
	})
	if way != nil {
		x.Err = way(ctx)
		return metadata.Reply{}, metadata.Explain(x, hints)
	}
	if x.Status = recorder.Code; x.Status != http.StatusOK {
		return metadata.Reply{}, metadata.Explain(x, hints)
	}
	date, err := http.ParseTime(recorder.Header().Get("Date"))
	if err != nil {
		date = time.Time{}
	}
	return metadata.Reply{Path: ask.Path, Body: recorder.Body.Bytes(), Date: date, Header: recorder.Header()}, nil
}

// obstacle is what comes of a request that has no answer.
type obstacle func(ctx context.Context) error

// obstacleOf is that of the faults which are not in an answer; nil where there is one.
func obstacleOf(fault awstest.Fault, method string) obstacle {
	token := method == http.MethodPut
	switch {
	case fault == awstest.ConnectionRefused, fault == awstest.ConnectionReset:
		return func(context.Context) error { return errors.New("connection lost") }
	case fault == awstest.HugeBody && !token:
		return func(context.Context) error { return errors.New("more than 64 KiB of reply") }
	case fault == awstest.HangingToken && token, (fault == awstest.HangingItem || fault == awstest.SlowBody) && !token:
		return func(ctx context.Context) error {
			ctx, stop := context.WithTimeout(ctx, step)
			defer stop()
			<-ctx.Done()
			return ctx.Err()
		}
	}
	return nil
}
