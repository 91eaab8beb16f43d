// Package metadatatest is the frame of a fake metadata service: all that is the
// same on every cloud, so that a fake of one cloud is its wire format and little
// else. awstest, beside the source for AWS, is the example to follow.
//
// A fake is a [Cloud], which answers one request in the words of its cloud, and
// a Server type of its own that embeds [Server]:
//
//	type Server struct {
//		*metadatatest.Server
//		tokens map[string]time.Time // guarded by Update, as Answer is
//	}
//
//	func Start(o Options) (*Server, error) {
//		s := &Server{tokens: map[string]time.Time{}}
//		var err error
//		s.Server, err = metadatatest.Start(s, metadatatest.Options{Listen: o.Listen, Faults: faults})
//		return s, err
//	}
//
//	func (s *Server) Answer(ask metadatatest.Ask) metadatatest.Reply { … }
//	func (s *Server) Refuse(status int) metadatatest.Reply            { … }
//
// The frame listens, keeps or closes connections, logs what was asked for, and
// has the cloud's clock, which can be told to differ from ours.
//
// What the service has to tell is announced by [Server.Announce] with a content
// that the fake alone understands, from a moment on and until another, and
// [Ask.Notice] gives it to Answer while it can be read. Reply.Tells says which
// notices a reply told; the frame notes when they were first read. Any other
// state that Answer uses is changed within [Server.Update], which runs one thing
// at a time and wakes the requests that are held: a long poll is a Reply with a
// Hold, and Answer is asked again at each change, and when the time is over.
//
// [Common] are the faults that any service can have, [Tokens] those of one that
// hands out tokens. A fake takes the rows that fit its cloud and adds its own
// ([Definitions.With], [Definitions.Without]); an effect can differ, too: that
// the item of the notice answers 404 hides a notice on EC2, where 404 says
// "none", and blinds a client on Azure. The frame carries out the common faults by
// what a Reply says of itself: its Role, and a Sample where content is to be
// spoiled while there is none. A fake carries out its own in a row's Tamper, or
// by looking at Ask.Fault.
//
// The conformance suite for sources, package sourcetest, goes through the faults
// of a Server and holds the source to the effect that each row names.
package metadatatest
