package awstest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
)

func TestEachFaultIsDescribed(t *testing.T) {
	t.Parallel()
	effects := map[Effect]bool{Blinds: true, BlindsWithoutV1: true, Hides: true, Shows: true}
	seen := map[Fault]bool{}
	for _, f := range Faults() {
		if seen[f] {
			t.Errorf("%q is listed twice", f)
		}
		seen[f] = true
		if f.Doc() == "" || strings.Contains(f.Doc(), "\n") {
			t.Errorf("%q is described by %q, want one line", f, f.Doc())
		}
		if !effects[f.Effect()] {
			t.Errorf("%q has the effect %q", f, f.Effect())
		}
	}
	if err := New(t).SetFault("gremlins"); err == nil {
		t.Error("SetFault of an unknown fault returned no error")
	}
}

// under is what a client meets under a fault.
type under struct {
	token string // of a PUT for a token: status, or what went wrong
	item  string // of a GET of the instance's id, with an older token if none is handed out
	// notice is of a GET of the notice, which is there.
	notice string
	body   func(body string) bool // if not nil, of the notice
}

const hangs = "hangs"

func TestFaults(t *testing.T) {
	t.Parallel()
	notJSON := func(body string) bool { return !json.Valid([]byte(body)) }
	tests := map[Fault]under{
		"":                {token: "200", item: "200", notice: "200"},
		Unauthorized:      {token: "200", item: "401", notice: "401"},
		Forbidden:         {token: "403", item: "403", notice: "403"},
		NotFound:          {token: "200", item: "404", notice: "404"},
		NoticeNotFound:    {token: "200", item: "200", notice: "404"},
		TooManyRequests:   {token: "429", item: "429", notice: "429"},
		InternalError:     {token: "500", item: "500", notice: "500"},
		Unavailable:       {token: "503", item: "503", notice: "503"},
		TokenNotFound:     {token: "404", item: "401", notice: "401"},
		UnusableToken:     {token: "200", item: "401", notice: "401"},
		HangingToken:      {token: hangs, item: "401", notice: "401"},
		HangingItem:       {token: "200", item: hangs, notice: hangs},
		SlowBody:          {token: "200", item: hangs, notice: hangs},
		HugeBody:          {token: "200", item: "200", notice: "200", body: func(b string) bool { return len(b) > 8<<20 && json.Valid([]byte(b)) }},
		TruncatedJSON:     {token: "200", item: "200", notice: "200", body: notJSON},
		GarbageJSON:       {token: "200", item: "200", notice: "200", body: notJSON},
		ForeignJSON:       {token: "200", item: "200", notice: "200", body: func(b string) bool { return !notJSON(b) && !strings.Contains(b, "action") }},
		EmptyBody:         {token: "200", item: "200", notice: "200", body: func(b string) bool { return b == "" }},
		HTMLPage:          {token: "200", item: "200", notice: "200", body: func(b string) bool { return strings.HasPrefix(b, "<!DOCTYPE html>") }},
		Redirect:          {token: "302", item: "302", notice: "302"},
		ConnectionRefused: {token: "refused", item: "refused", notice: "refused"},
		ConnectionReset:   {token: "reset", item: "reset", notice: "reset"},
		UnreadableTime:    {token: "200", item: "200", notice: "200", body: func(b string) bool { return strings.Contains(b, "in a little while") }},
		PastTime:          {token: "200", item: "200", notice: "200", body: func(b string) bool { return strings.Contains(b, "2026-11-22T11:00:00Z") }},
		NoTime:            {token: "200", item: "200", notice: "200", body: func(b string) bool { return b == `{"action": "terminate"}` }},
		NoDateHeader:      {token: "200", item: "200", notice: "200"},
		IMDSv1Only403:     {token: "403", item: "200", notice: "200"},
		IMDSv1Only404:     {token: "404", item: "200", notice: "200"},
		IMDSv1Only405:     {token: "405", item: "200", notice: "200"},
	}
	for _, f := range Faults() {
		if _, tested := tests[f]; !tested {
			t.Errorf("there is no test for %q", f)
		}
	}
	for fault, want := range tests {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			testFault(t, fault, want)
		})
	}
}

func testFault(t *testing.T, fault Fault, want under) {
	t.Helper()
	s, _ := newWithClock(t)
	old := token(t, s, 600)
	s.Interrupt("terminate", noon.Add(2*time.Minute))
	if fault != "" {
		if err := s.SetFault(fault); err != nil {
			t.Fatal(err)
		}
	}
	got, _ := meet(t, s, http.MethodPut, TokenPath, ttlHeader, "600")
	check(t, "PUT of a token", got, want.token)

	// The faults that void tokens hand out none that can be used.
	header := []string{tokenHeader, old}
	if !needsToken(metadatatest.Fault(fault)) {
		header = nil
	}
	got, _ = meet(t, s, http.MethodGet, "/latest/meta-data/instance-id", header...)
	check(t, "GET of the id", got, want.item)
	got, r := meet(t, s, http.MethodGet, NoticePath, header...)
	check(t, "GET of the notice", got, want.notice)
	if want.body != nil && !want.body(r.body) {
		t.Errorf("the notice reads %.200q", r.body)
	}
	if _, has := r.header["Date"]; r.status != 0 && has == (fault == NoDateHeader) {
		t.Errorf("a reply has a Date: %t", has)
	}
	if read := !s.NoticeReadAt().IsZero(); read != (got == "200" && fault.Effect() != Blinds) {
		t.Errorf("the notice counts as read: %t", read)
	}

	if err := s.ClearFault(); err != nil {
		t.Fatal(err)
	}
	if r := get(t, s, "spot/instance-action"); r.status != 200 || r.body != `{"action": "terminate", "time": "2026-11-22T12:02:00Z"}` {
		t.Errorf("after the fault: %d %.200q", r.status, r.body)
	}
}

// meet says in a word what becomes of a request.
func meet(t *testing.T, s *Server, method, path string, header ...string) (string, response) {
	t.Helper()
	// What takes longer than this hangs. All that does not hang is answered at
	// once, and a loaded machine is given time for it.
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Second)
	defer stop()
	r, err := sendWithin(ctx, t, s, method, path, header...)
	switch {
	case err == nil:
		return fmt.Sprint(r.status), r
	case errors.Is(err, context.DeadlineExceeded):
		return hangs, response{}
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused", response{}
	case errors.Is(err, syscall.ECONNRESET):
		return "reset", response{}
	}
	return err.Error(), response{}
}

func check(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %s, want %s", what, got, want)
	}
}

func TestContentFaultsAreThereWithoutANotice(t *testing.T) {
	t.Parallel()
	for _, f := range []Fault{HugeBody, TruncatedJSON, GarbageJSON, ForeignJSON, EmptyBody} {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			s := New(t)
			if err := s.SetFault(f); err != nil {
				t.Fatal(err)
			}
			if r := get(t, s, "spot/instance-action"); r.status != 200 {
				t.Errorf("status %d, want 200", r.status)
			}
			if r := must(t, s, http.MethodGet, NoticePath); r.status != 401 {
				t.Errorf("without a token: status %d, want 401", r.status)
			}
			if !s.NoticeReadAt().IsZero() {
				t.Error("a notice that never was counts as read")
			}
		})
	}
}

// hangingRequest sends one that is not answered, and returns once the server
// has it. What becomes of it comes on the channel.
func hangingRequest(t *testing.T, f Fault) (*Server, <-chan error) {
	t.Helper()
	asked := make(chan struct{}, 1)
	s, err := Start(Options{Trace: func(r Request) {
		if r.Path == NoticePath {
			asked <- struct{}{}
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	key := token(t, s, 600)
	if err := s.SetFault(f); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := send(t, s, http.MethodGet, NoticePath, tokenHeader, key)
		ended <- err
	}()
	select {
	case <-asked:
	case <-time.After(10 * time.Second):
		t.Fatal("the request did not arrive")
	}
	return s, ended
}

func TestARequestThatHangsIsCutOffWhenTheFaultEnds(t *testing.T) {
	t.Parallel()
	ways := map[string]func(*Server) error{
		"by ClearFault":     (*Server).ClearFault,
		"by another fault":  func(s *Server) error { return s.SetFault(Forbidden) },
		"by a refusal":      func(s *Server) error { return s.SetFault(ConnectionRefused) },
		"by Close, at last": func(s *Server) error { s.Close(); return nil },
	}
	for _, f := range []Fault{HangingItem, SlowBody} {
		for name, end := range ways {
			t.Run(string(f)+" "+name, func(t *testing.T) {
				t.Parallel()
				s, ended := hangingRequest(t, f)
				if err := end(s); err != nil {
					t.Fatal(err)
				}
				select {
				case err := <-ended:
					if err == nil || errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("the request ended with %v, want a broken connection", err)
					}
				case <-time.After(5 * time.Second):
					t.Error("the request still hangs")
				}
			})
		}
	}
}

func TestARefusedPortComesBack(t *testing.T) {
	t.Parallel()
	s := New(t)
	url := s.URL()
	for range 3 {
		if err := s.SetFault(ConnectionRefused); err != nil {
			t.Fatal(err)
		}
		if got, _ := meet(t, s, http.MethodGet, NoticePath); got != "refused" {
			t.Errorf("under the fault: %s, want refused", got)
		}
		if err := s.SetFault(Forbidden); err != nil { // another fault opens it too
			t.Fatal(err)
		}
		if got, _ := meet(t, s, http.MethodGet, NoticePath); got != "403" {
			t.Errorf("under the next fault: %s, want 403", got)
		}
	}
	if err := s.SetFault(ConnectionRefused); err != nil {
		t.Fatal(err)
	}
	s.Close() // must not wait for a listener that is gone
	if s.URL() != url {
		t.Errorf("URL changed from %s to %s", url, s.URL())
	}
}

func TestFaultsAndRequestsMayComeAtOnce(t *testing.T) {
	t.Parallel()
	s := New(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, f := range Faults() {
			if err := s.SetFault(f); err != nil {
				t.Errorf("setting %q: %v", f, err)
			}
			s.Interrupt("terminate", time.Now())
			_ = s.Status()
		}
		if err := s.ClearFault(); err != nil {
			t.Errorf("clearing: %v", err)
		}
	}()
	for open := true; open; {
		select {
		case <-done:
			open = false
		default:
			_, _ = meet(t, s, http.MethodGet, NoticePath)
		}
	}
	if r := get(t, s, "instance-id"); r.status != 200 {
		t.Errorf("afterwards: %d, want 200", r.status)
	}
}

func TestTheFaultsOfWordsTouchEachNotice(t *testing.T) {
	t.Parallel()
	const rebalance, maintenance = "events/recommendations/rebalance", "events/maintenance/scheduled"
	tests := map[Fault]map[string]string{
		UnreadableTime: {rebalance: `"noticeTime": "in a little while"`, maintenance: `"NotBefore": "in a little while"`},
		PastTime:       {rebalance: `"noticeTime": "2026-11-22T11:00:00Z"`, maintenance: `"NotBefore": "22 Nov 2026 11:00:00 GMT"`},
		NoTime:         {rebalance: `"noticeTime": null`, maintenance: `[{"Code": "instance-stop"`},
	}
	for fault, wants := range tests {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			s, _ := newWithClock(t)
			s.Rebalance(0)
			s.Schedule(0, Event{ID: "instance-event-1", Code: "instance-stop", NotBefore: noon.Add(time.Hour)})
			if err := s.SetFault(fault); err != nil {
				t.Fatal(err)
			}
			for item, want := range wants {
				if r := get(t, s, item); r.status != 200 || !strings.Contains(r.body, want) {
					t.Errorf("%s: %d %s, want %s in it", item, r.status, r.body, want)
				}
			}
		})
	}
}
