import Messaging
import Primitives
import Testing
