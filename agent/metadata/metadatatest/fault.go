package metadatatest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Fault is one way in which a metadata service can fail its clients. The value
// is its name on the command line.
type Fault string

// Effect says what a careful client can know while a fault is in the way. A fake
// may have others than these.
type Effect string

// The effects of a fault.
const (
	// Blinds means that a client cannot tell whether there is a notice, and
	// must say so.
	Blinds Effect = "blinds"
	// Hides means that the service seems well and says that there is no notice.
	Hides Effect = "hides"
	// Shows means that a notice can still be read, though not all of it.
	Shows Effect = "shows"
)

// The faults that any service can have. Where nothing else is said, a fault is
// there whether or not a notice is.
const (
	Forbidden         Fault = "forbidden"
	NotFound          Fault = "not-found"
	NoticeNotFound    Fault = "notice-not-found"
	TooManyRequests   Fault = "too-many-requests"
	InternalError     Fault = "internal-error"
	Unavailable       Fault = "unavailable"
	HangingItem       Fault = "hanging-item"
	SlowBody          Fault = "slow-body"
	HugeBody          Fault = "huge-body"
	TruncatedBody     Fault = "truncated-body"
	GarbageBody       Fault = "garbage-body"
	ForeignJSON       Fault = "foreign-json"
	EmptyBody         Fault = "empty-body"
	HTMLPage          Fault = "html-page"
	Redirect          Fault = "redirect"
	ConnectionRefused Fault = "connection-refused"
	ConnectionReset   Fault = "connection-reset"
	NoDateHeader      Fault = "no-date-header"
)

// The faults of a service that hands out tokens.
const (
	Unauthorized  Fault = "unauthorized"
	TokenNotFound Fault = "token-not-found"
	UnusableToken Fault = "unusable-token"
	HangingToken  Fault = "hanging-token"
)

// Definition is a fault with what it does.
type Definition struct {
	Fault  Fault
	Effect Effect
	// Doc is one line about what the fault does.
	Doc string
	// VoidsTokens ends the tokens handed out earlier when the fault begins.
	VoidsTokens bool
	// Tamper turns the honest reply into another; nil leaves it. It is called as
	// Cloud.Answer is. A reply with status 0 is silence until the fault ends.
	Tamper func(ask Ask, honest Reply) Reply

	// silence is what happens instead of a reply with status 0.
	silence func(w http.ResponseWriter, r *http.Request, ended <-chan struct{})
	// deliver sends the reply; nil sends it whole and at once.
	deliver func(w http.ResponseWriter, r *http.Request, answer Reply, ended <-chan struct{})
	// refuses closes the port.
	refuses bool
}

// keepSilent is what happens instead of a reply.
func (d Definition) keepSilent(w http.ResponseWriter, r *http.Request, ended <-chan struct{}) {
	if d.silence == nil {
		hang(w, r, ended)
		return
	}
	d.silence(w, r, ended)
}

// Definitions is the table of the faults that a service can have.
type Definitions []Definition

// Find is the fault of that name.
func (d Definitions) Find(f Fault) (Definition, bool) {
	i := slices.IndexFunc(d, func(row Definition) bool { return row.Fault == f })
	if i < 0 {
		return Definition{}, false
	}
	return d[i], true
}

// With is d and rows; a row replaces the one of its fault.
func (d Definitions) With(rows ...Definition) Definitions {
	all := slices.Clone(d)
	for _, row := range rows {
		all = append(all.Without(row.Fault), row)
	}
	return all
}

// Without is d without the rows of those faults.
func (d Definitions) Without(faults ...Fault) Definitions {
	return slices.DeleteFunc(slices.Clone(d), func(row Definition) bool { return slices.Contains(faults, row.Fault) })
}

// WithEffect is d with another effect of a fault that it has.
func (d Definitions) WithEffect(f Fault, effect Effect) Definitions {
	all := slices.Clone(d)
	for i := range all {
		if all[i].Fault == f {
			all[i].Effect = effect
		}
	}
	return all
}

// Names are the faults of the table, in its order.
func (d Definitions) Names() []Fault {
	names := make([]Fault, len(d))
	for i, row := range d {
		names[i] = row.Fault
	}
	return names
}

// Parse is the fault of that name. The error lists the names there are.
func (d Definitions) Parse(name string) (Fault, error) {
	if row, known := d.Find(Fault(name)); known {
		return row.Fault, nil
	}
	var names []string
	for _, f := range d.Names() {
		names = append(names, string(f))
	}
	return "", fmt.Errorf("no fault is named %q, only %s", name, strings.Join(names, ", "))
}

// Common are the faults that any service can have. NoticeNotFound is told to
// hide a notice, which is so where 404 says "none"; where it does not, change that
// by WithEffect.
func Common() Definitions {
	return slices.Concat(refusals(), delays(), contents(), strangers(), Definitions{
		{
			Fault: NoDateHeader, Effect: Shows, Doc: "replies carry no Date",
			deliver: undated,
		},
	})
}

// refusals are the faults in which the service says no.
func refusals() Definitions {
	return Definitions{
		{
			Fault: Forbidden, Effect: Blinds, Doc: "everything answers 403, as when the service is switched off",
			Tamper: always(http.StatusForbidden),
		},
		{
			Fault: NotFound, Effect: Blinds, Doc: `every item answers 404, which must not pass for "no notice"`,
			Tamper: items(always(http.StatusNotFound)),
		},
		{
			Fault: NoticeNotFound, Effect: Hides, Doc: "the item of the notice answers 404, all others are well",
			Tamper: notices(always(http.StatusNotFound)),
		},
		{
			Fault: TooManyRequests, Effect: Blinds, Doc: "everything answers 429",
			Tamper: always(http.StatusTooManyRequests),
		},
		{
			Fault: InternalError, Effect: Blinds, Doc: "everything answers 500",
			Tamper: always(http.StatusInternalServerError),
		},
		{
			Fault: Unavailable, Effect: Blinds, Doc: "everything answers 503",
			Tamper: always(http.StatusServiceUnavailable),
		},
	}
}

// delays are the faults in which an answer does not come in any useful time.
func delays() Definitions {
	return Definitions{
		{
			Fault: HangingItem, Effect: Blinds, Doc: "a GET is never answered",
			Tamper: items(nothing),
		},
		{
			Fault: SlowBody, Effect: Blinds, Doc: "the body of a GET comes byte by byte, and takes ten seconds or longer",
			Tamper: items(late), deliver: dribble,
		},
	}
}

// contents are the faults of what a notice says.
func contents() Definitions {
	return Definitions{
		{
			Fault: HugeBody, Effect: Blinds, Doc: "the notice is a valid document of 8 MiB",
			Tamper: notices(padded),
		},
		{
			Fault: TruncatedBody, Effect: Blinds, Doc: "the notice is cut off in the middle",
			Tamper: spoil(func(doc string) string { return doc[:len(doc)/2] }),
		},
		{
			Fault: GarbageBody, Effect: Blinds, Doc: "the notice is called what it should be and is not",
			Tamper: spoil(func(string) string { return "\x00\xff{]" + "\n\x1b[31m" }),
		},
		{
			Fault: ForeignJSON, Effect: Blinds, Doc: "the notice is a JSON document about something else",
			Tamper: spoil(func(string) string { return `{"error": {"code": 7, "message": "try later"}}` }),
		},
		{
			Fault: EmptyBody, Effect: Blinds, Doc: "the notice is an empty page",
			Tamper: spoil(func(string) string { return "" }),
		},
	}
}

// strangers are the faults in which something else answers, or nothing does.
func strangers() Definitions {
	return Definitions{
		{
			Fault: HTMLPage, Effect: Blinds, Doc: "everything answers 200 with a web page, as a captive proxy does",
			Tamper: func(Ask, Reply) Reply { return webPage },
		},
		{
			Fault: Redirect, Effect: Blinds, Doc: "everything answers 302 to a web page",
			Tamper: redirect,
		},
		{
			Fault: ConnectionRefused, Effect: Blinds, Doc: "the port is closed",
			refuses: true,
		},
		{
			Fault: ConnectionReset, Effect: Blinds, Doc: "the connection is reset once the request was read",
			Tamper: nothing, silence: reset,
		},
	}
}

// Tokens are the faults of a service that hands out tokens by PUT and asks for
// one on each GET; its Cloud is a TokenVoider.
func Tokens() Definitions {
	return Definitions{
		{
			Fault: Unauthorized, Effect: Blinds, Doc: "every GET answers 401, even with a token just handed out",
			Tamper: items(always(http.StatusUnauthorized)),
		},
		{
			Fault: TokenNotFound, Effect: Blinds, Doc: "no token is handed out (404), yet every GET asks for one",
			VoidsTokens: true, Tamper: TokensAnswer(http.StatusNotFound),
		},
		{
			Fault: UnusableToken, Effect: Blinds, Doc: "the tokens handed out cannot be sent in a header",
			VoidsTokens: true, Tamper: tokens(unusable),
		},
		{
			Fault: HangingToken, Effect: Blinds,
			Doc:         "a PUT for a token is never answered, as when the hop limit is too low",
			VoidsTokens: true, Tamper: tokens(nothing),
		},
	}
}
