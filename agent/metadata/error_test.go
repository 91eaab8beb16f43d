package metadata_test

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/ebbtide/ebbtide/agent/metadata"
)

func TestAnErrorSaysWhatWentWrongAndWhatHelps(t *testing.T) {
	t.Parallel()
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	undialled := &net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}
	late := &net.OpError{Op: "read", Net: "tcp", Err: os.ErrDeadlineExceeded}
	hints := []metadata.Hint{
		{Method: "PUT", Statuses: []int{404, 405}, Text: "no tokens here"},
		{Statuses: []int{404, 503}, Text: "not this cloud"},
		{Method: "PUT", Fault: metadata.Unanswered, Text: "a hop limit"},
	}
	for name, tc := range map[string]struct {
		exchange metadata.Exchange
		want     string
	}{
		"a status": {
			metadata.Exchange{Method: "GET", Path: "/a", Status: 418},
			`reading metadata item "/a": 418 I'm a teapot`,
		},
		"a status without a name": {
			metadata.Exchange{Method: "GET", Path: "/a", Status: 599},
			`reading metadata item "/a": 599`,
		},
		"a hint of the cloud": {
			metadata.Exchange{Method: "GET", Path: "/a", Status: 404},
			`reading metadata item "/a": 404 Not Found (not this cloud)`,
		},
		"the first row that fits": {
			metadata.Exchange{Method: "PUT", Path: "/t", Status: 404},
			`fetching metadata token "/t": 404 Not Found (no tokens here)`,
		},
		"a cloud's row before the common one": {
			metadata.Exchange{Method: "GET", Path: "/a", Status: 503},
			`reading metadata item "/a": 503 Service Unavailable (not this cloud)`,
		},
		"a hint that holds everywhere": {
			metadata.Exchange{Method: "POST", Path: "/a", Status: 429},
			`writing metadata item "/a": 429 Too Many Requests (the metadata service throttles this machine: does something else ask it too often?)`,
		},
		"a redirect": {
			metadata.Exchange{Method: "GET", Path: "/a", Status: 302},
			`reading metadata item "/a": 302 Found (something redirects requests: is a proxy in the way?)`,
		},
		"a port that is closed": {
			metadata.Exchange{Method: "GET", Path: "/a", Err: refused},
			`reading metadata item "/a": dial tcp: connection refused (nothing listens there, or a firewall keeps pods from it)`,
		},
		"a connection that was late, which is no silence": {
			metadata.Exchange{Method: "PUT", Path: "/t", Err: undialled},
			`fetching metadata token "/t": dial tcp: i/o timeout (nothing listens there, or a firewall keeps pods from it)`,
		},
		"a reply that was late": {
			metadata.Exchange{Method: "PUT", Path: "/t", Err: late},
			`fetching metadata token "/t": read tcp: i/o timeout (a hop limit)`,
		},
		"a body that was late, which is no silence either": {
			metadata.Exchange{Method: "PUT", Path: "/t", Status: 200, Err: late},
			`fetching metadata token "/t": 200 OK: read tcp: i/o timeout`,
		},
		"a fault with more than one line": {
			metadata.Exchange{Method: "GET", Path: "/a\n", Err: errors.New("malformed: \"a\r\n\tb\"")},
			`reading metadata item "/a\n": malformed: "a b"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := metadata.Explain(tc.exchange, hints)
			if got := err.Error(); got != tc.want {
				t.Errorf("error is\n%s\nwant\n%s", got, tc.want)
			}
			if !errors.Is(err.Unwrap(), tc.exchange.Err) {
				t.Errorf("it does not wrap %v", tc.exchange.Err)
			}
		})
	}
}

func TestOnlyAWholeReplyToAGetIsAnAnswer(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"a PUT":            &metadata.ReadError{Method: "PUT", Status: 404},
		"a body cut short": &metadata.ReadError{Method: "GET", Status: 404, Err: errors.New("unexpected EOF")},
		"another status":   &metadata.ReadError{Method: "GET", Status: 403},
		"another error":    errors.New("404 Not Found"),
		"no error":         nil,
	} {
		if metadata.Answered(err, 404) {
			t.Errorf("%s counts as an answer of 404", name)
		}
	}
}

func TestAReplyThatIsNotWhatItShouldBeIsQuoted(t *testing.T) {
	t.Parallel()
	reply := metadata.Reply{Path: "/a", Body: []byte("<html>\n\xff")}
	err := reply.Unreadable("an interruption notice", errors.New("no JSON"))
	const want = `reading metadata item "/a": 200 OK: parsing "<html>\n?": no JSON ` +
		`(this is not an interruption notice: is a proxy in the way?)`
	if err.Error() != want {
		t.Errorf("error is\n%s\nwant\n%s", err, want)
	}
}

func TestWhatIsKeptOfAReplyIsText(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{"": "", "abc": "abc", "abcdefgh": "abcde", "abcdé": "abcd?", "a\xffb": "a?b"} {
		got := metadata.Cut([]byte(body), 5)
		if got != want || !utf8.ValidString(got) {
			t.Errorf("of %q is kept %q, want %q", body, got, want)
		}
	}
}

func TestTrustLastsAsLongAsItShould(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	var trust metadata.Trust
	holds := func(after time.Duration) bool { return trust.Holds(noon.Add(after)) }
	if holds(0) {
		t.Error("it holds before it was gained")
	}
	trust.Gain(noon)
	if !holds(0) || !holds(metadata.TrustedFor-1) || holds(metadata.TrustedFor) {
		t.Error("it does not hold for its time, or for longer")
	}
	trust.Age(time.Second)
	if !holds(metadata.TrustedFor-time.Second-1) || holds(metadata.TrustedFor-time.Second) {
		t.Error("it did not age")
	}
	trust.Lose()
	if holds(0) {
		t.Error("it holds once it was lost")
	}
}
