package agent

import (
	"cmp"
	"slices"
	"time"
)

// Response is what is done about a notice.
type Response string

// The responses, the strongest first. They are values of the configuration.
const (
	// DrainNow cordons and drains the node from first sight on.
	DrainNow Response = "DrainNow"
	// DrainBefore does so from a lead before the deadline on; until then it only
	// reports. Where no deadline is known it cordons softly meanwhile.
	DrainBefore Response = "DrainBefore"
	// HandOver cordons softly, and hands the critical pods over and evicts them within
	// their disruption budgets; nothing is forced, and all of it is undone in the end.
	HandOver Response = "HandOver"
	// CordonSoftly makes the scheduler prefer other nodes, by a taint.
	CordonSoftly Response = "CordonSoftly"
	// ReportOnly tells the log, the metrics and the Events.
	ReportOnly Response = "ReportOnly"
)

// Responses are those that may be chosen.
var Responses = []Response{DrainNow, DrainBefore, HandOver, CordonSoftly, ReportOnly}

// strength orders what is done at one moment. DrainBefore is DrainNow by then.
var strength = map[Response]int{DrainNow: 3, HandOver: 2, CordonSoftly: 1, ReportOnly: 0}

// Rules say what is done about which notice.
type Rules struct {
	// Kinds holds the response to each kind; the zero value is DrainNow.
	Kinds map[Kind]Response
	// Actions holds the response to maintenance that the machine lives through, by
	// its action; where it is empty, the kind's stands.
	Actions map[Action]Response
	// ShortFreeze is how long a freeze has to last to be more than reported. One of
	// which the cloud does not say how long it lasts is not short.
	ShortFreeze time.Duration
	// Lead is how long before its deadline a notice is drained for by DrainBefore, and
	// how long a drain is given where nobody says how much time there is.
	Lead time.Duration
	// TTL is how long an advice is followed, from the moment that the cloud gave it or,
	// where it does not say, the first sight.
	TTL time.Duration
}

// DefaultRules are what a cautious operator would choose: act at once on what ends the
// machine soon, shortly before on what is planned, and gently on what may never come.
func DefaultRules() Rules {
	return Rules{
		Kinds: map[Kind]Response{
			SpotInterruption: DrainNow, RebalanceAdvice: HandOver, Maintenance: DrainBefore,
			ScaleIn: DrainNow, NodeShutdown: DrainNow, ClusterDisruption: HandOver,
		},
		Actions:     map[Action]Response{Migrate: ReportOnly, Freeze: DrainBefore},
		ShortFreeze: time.Minute,
		Lead:        10 * time.Minute,
		TTL:         time.Hour,
	}
}

// Course is what a notice asks for, and when.
type Course struct {
	Response Response
	// From is when it begins.
	From time.Time
	// Until is the end of the machine or, where that is not what the notice is about,
	// the moment at which everything is undone.
	Until time.Time
}

// Course returns what notice asks for.
func (r Rules) Course(notice Notice) Course {
	course := Course{Response: r.response(notice), From: notice.FirstSeen, Until: notice.Deadline}
	unknown := notice.DeadlineKind == None
	switch {
	case course.Response == DrainBefore && unknown:
		course.Response = CordonSoftly
	case course.Response == DrainBefore:
		course.Response = DrainNow
		if notice.State != Started {
			course.From = laterOf(notice.FirstSeen, notice.Deadline.Add(-r.Lead))
		}
	case course.Response == DrainNow && unknown:
		course.Until = notice.FirstSeen.Add(r.Lead)
	}
	if course.Response != DrainNow && (unknown || notice.DeadlineKind == Estimated) {
		given := notice.Emitted
		if given.IsZero() {
			given = notice.FirstSeen
		}
		course.Until = given.Add(r.TTL)
	}
	return course
}

func (r Rules) response(notice Notice) Response {
	if notice.Kind != Maintenance {
		return cmp.Or(r.Kinds[notice.Kind], DrainNow)
	}
	if notice.Action == Freeze && notice.Lasts > 0 && notice.Lasts < r.ShortFreeze {
		return ReportOnly
	}
	return cmp.Or(r.Actions[notice.Action], r.Kinds[Maintenance], DrainNow)
}

// calling is a notice whose course has begun, and that course.
type calling struct {
	notice Notice
	course Course
}

// drains says whether the node is to be drained.
func (c calling) drains() bool { return c.course.Response == DrainNow }

// resolved is the notice with what its course says about it.
func (c calling) resolved() Notice {
	notice := c.notice
	if notice.DeadlineKind == None || !c.drains() {
		notice.DeadlineKind = Estimated
	}
	notice.Deadline = c.course.Until
	if !c.drains() {
		notice.Advice = c.course.Response
	}
	return notice
}

// calls returns what the open notices ask for at now: the courses that have begun, the
// strongest first and of those the one that ends first. An advice that has lapsed asks
// for nothing any more.
func (r Rules) calls(open []Notice, now time.Time) []calling {
	var calls []calling
	for _, notice := range open {
		c := calling{notice, r.Course(notice)}
		lapsed := !c.drains() && !c.course.Until.After(now)
		if c.course.Response != ReportOnly && !c.course.From.After(now) && !lapsed {
			calls = append(calls, c)
		}
	}
	slices.SortStableFunc(calls, func(a, b calling) int {
		return cmp.Or(
			cmp.Compare(strength[b.course.Response], strength[a.course.Response]),
			a.course.Until.Compare(b.course.Until),
		)
	})
	return calls
}
