package awstest

import (
	"net"
	"net/http"
	"strings"
	"time"
)

// behaviour is what a fault does. It may tamper with the honest reply, keep
// silent instead of sending one, and deliver it in its own way.
type behaviour struct {
	doc    string
	effect Effect
	// voidsTokens: tokens handed out earlier end when the fault begins.
	voidsTokens bool
	// needsNoToken: items are readable without a token.
	needsNoToken bool
	// tamper turns the honest reply into another; a status of 0 means that
	// there is to be silence. It runs with the server's lock held.
	tamper func(s *Server, r *http.Request, honest reply) reply
	// silence is what happens instead of a reply with status 0.
	silence func(w http.ResponseWriter, r *http.Request, ended <-chan struct{})
	// deliver sends the reply; nil sends it whole and at once.
	deliver func(w http.ResponseWriter, r *http.Request, answer reply, ended <-chan struct{})
}

// behaviours has an entry for each of Faults.
var behaviours = map[Fault]behaviour{
	Unauthorized: {
		doc: "every GET answers 401, even with a token just handed out", effect: Blinds,
		tamper: items(always(refusal(http.StatusUnauthorized))),
	},
	Forbidden: {
		doc: "everything answers 403, as when the service is switched off", effect: Blinds,
		tamper: always(refusal(http.StatusForbidden)),
	},
	NotFound: {
		doc: "every item answers 404, which must not pass for \"no notice\"", effect: Blinds,
		tamper: items(always(refusal(http.StatusNotFound))),
	},
	NoticeNotFound: {
		doc: "the items below spot/ answer 404, all others are well", effect: Hides,
		tamper: func(_ *Server, r *http.Request, honest reply) reply {
			if strings.Contains(r.URL.Path, "/meta-data/spot/") {
				return refusal(http.StatusNotFound)
			}
			return honest
		},
	},
	TooManyRequests: {
		doc: "everything answers 429", effect: Blinds,
		tamper: always(refusal(http.StatusTooManyRequests)),
	},
	InternalError: {
		doc: "everything answers 500", effect: Blinds,
		tamper: always(refusal(http.StatusInternalServerError)),
	},
	Unavailable: {
		doc: "everything answers 503", effect: Blinds,
		tamper: always(refusal(http.StatusServiceUnavailable)),
	},
	TokenNotFound: {
		doc: "no token is handed out (404), yet every GET asks for one", effect: Blinds, voidsTokens: true,
		tamper: tokens(refusal(http.StatusNotFound)),
	},
	UnusableToken: {
		doc: "the tokens handed out cannot be sent in a header", effect: Blinds, voidsTokens: true,
		tamper: tokens(unusableToken),
	},
	HangingToken: {
		doc: "a PUT for a token is never answered, as when the hop limit is too low", effect: Blinds, voidsTokens: true,
		tamper: tokens(reply{}), silence: hang,
	},
	HangingItem: {
		doc: "a GET is never answered", effect: Blinds,
		tamper: items(always(reply{})), silence: hang,
	},
	SlowBody: {
		doc: "the body of a GET comes at five bytes a second", effect: Blinds,
		tamper: items(whole), deliver: dribble,
	},
	HugeBody: {
		doc: "the notice is a valid document of 8 MiB", effect: Blinds,
		tamper: func(s *Server, r *http.Request, honest reply) reply {
			answer := roomy(s, r, honest)
			if strings.HasSuffix(answer.body, room) {
				answer.padding = 8 << 20
			}
			return answer
		},
	},
	TruncatedJSON: {
		doc: "the notice is cut off in the middle", effect: Blinds,
		tamper: noticeBody(func(doc string) string { return doc[:len(doc)/2] }),
	},
	GarbageJSON: {
		doc: "the notice is called JSON and is not", effect: Blinds,
		tamper: noticeBody(func(string) string { return "\x00\xff{]" + "\n\x1b[31m" }),
	},
	ForeignJSON: {
		doc: "the notice is a JSON document about something else", effect: Blinds,
		tamper: noticeBody(func(string) string { return `{"error": {"code": 7, "message": "try later"}}` }),
	},
	HTMLPage: {
		doc: "everything answers 200 with a web page, as a captive proxy does", effect: Blinds,
		tamper: always(webPage),
	},
	Redirect: {
		doc: "everything answers 302 to a web page", effect: Blinds,
		tamper: redirect,
	},
	ConnectionRefused: {
		doc: "the port is closed", effect: Blinds,
	},
	ConnectionReset: {
		doc: "the connection is reset once the request was read", effect: Blinds,
		tamper: always(reply{}), silence: reset,
	},
	UnreadableTime: {
		doc: "the notice, if there is one, names a time that no one can read", effect: Shows,
		tamper: presentNotice(func(_ *Server, n *notice) string { return document(n.action, "in a little while") }),
	},
	PastTime: {
		doc: "the notice, if there is one, names a time an hour ago", effect: Shows,
		tamper: presentNotice(func(s *Server, n *notice) string {
			return document(n.action, cloudTime(s.now().Add(-time.Hour), s.offset))
		}),
	},
	NoTime: {
		doc: "the notice, if there is one, names no time", effect: Shows,
		tamper: presentNotice(func(_ *Server, n *notice) string { return `{"action": "` + n.action + `"}` }),
	},
	NoDateHeader: {
		doc: "replies carry no Date", effect: Shows,
		deliver: func(w http.ResponseWriter, _ *http.Request, answer reply, _ <-chan struct{}) {
			w.Header()["Date"] = nil // keeps net/http from setting one
			answer.send(w)
		},
	},
	IMDSv1Only403: v1Only(http.StatusForbidden),
	IMDSv1Only404: v1Only(http.StatusNotFound),
	IMDSv1Only405: v1Only(http.StatusMethodNotAllowed),
}

func v1Only(status int) behaviour {
	return behaviour{
		doc:    "items need no token, and a PUT for one answers " + http.StatusText(status),
		effect: BlindsWithoutV1, voidsTokens: true, needsNoToken: true,
		tamper: tokens(refusal(status)),
	}
}

type tamper = func(s *Server, r *http.Request, honest reply) reply

func always(instead reply) tamper {
	return func(*Server, *http.Request, reply) reply { return instead }
}

func isToken(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/api/token") }

// items applies t to every request but those for a token.
func items(t tamper) tamper {
	return func(s *Server, r *http.Request, honest reply) reply {
		if isToken(r) {
			return honest
		}
		return t(s, r, honest)
	}
}

// tokens answers requests for a token with instead.
func tokens(instead reply) tamper {
	return func(_ *Server, r *http.Request, honest reply) reply {
		if isToken(r) {
			return instead
		}
		return honest
	}
}

// noticeBody serves what change makes of a notice, and of one made up where
// there is none; a client without a token is sent away as ever.
func noticeBody(change func(doc string) string) tamper {
	return func(s *Server, r *http.Request, honest reply) reply {
		if r.URL.Path != NoticePath || honest.status == http.StatusUnauthorized {
			return honest
		}
		n := s.present()
		if n == nil {
			n = &notice{action: "terminate", at: s.now().Add(2 * time.Minute)}
		}
		return jsonReply(change(n.document(s.offset)))
	}
}

// room is the end of a document that has room for padding.
const room = `, "padding": ""}`

var roomy = noticeBody(func(doc string) string { return strings.TrimSuffix(doc, "}") + room })

// presentNotice serves what change makes of a notice, where there is one.
func presentNotice(change func(s *Server, n *notice) string) tamper {
	return func(s *Server, _ *http.Request, honest reply) reply {
		if honest.notice != nil {
			honest.body = change(s, honest.notice)
		}
		return honest
	}
}

// whole marks a notice as not read: it will not arrive in any useful time.
func whole(_ *Server, _ *http.Request, honest reply) reply {
	honest.notice = nil
	return honest
}

var unusableToken = func() reply {
	answer := text("not\na\ntoken\n")
	answer.header = map[string]string{ttlHeader: "21600"}
	return answer
}()

var webPage = reply{
	status: http.StatusOK, kind: "text/html",
	body: "<!DOCTYPE html>\n<html><body><h1>Please sign in</h1></body></html>\n",
}

// signIn is where Redirect leads to.
const signIn = "/sign-in"

func redirect(_ *Server, r *http.Request, _ reply) reply {
	if r.URL.Path == signIn {
		return webPage
	}
	answer := refusal(http.StatusFound)
	answer.header = map[string]string{"Location": signIn}
	return answer
}

// hang keeps a request until its client goes away, or cuts it off when the
// fault ends: a packet that a hop limit swallowed does not come later.
func hang(w http.ResponseWriter, r *http.Request, ended <-chan struct{}) {
	select {
	case <-r.Context().Done():
	case <-ended:
		cut(w)
	}
}

// dribble sends an item so slowly that no careful client waits for it.
func dribble(w http.ResponseWriter, r *http.Request, answer reply, ended <-chan struct{}) {
	if isToken(r) {
		answer.send(w)
		return
	}
	answer.head(w)
	flusher := http.NewResponseController(w)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for i := range len(answer.body) {
		if _, err := w.Write([]byte(answer.body[i : i+1])); err != nil {
			return
		}
		if err := flusher.Flush(); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		case <-ended:
			cut(w)
			return
		}
	}
}

// reset ends the connection with a RST instead of a FIN.
func reset(w http.ResponseWriter, _ *http.Request, _ <-chan struct{}) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// cut ends the connection in the middle of whatever it carries.
func cut(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return // gone already
	}
	_ = conn.Close()
}
