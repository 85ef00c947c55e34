/// The Python program that runs a module of Snorkel labeling functions; see `SnorkelModule` for who talks to it.
///
/// It is given to `python3 -c`, so a worker needs no file of ours. Where snorkel is not installed, modules of our own stand in for
/// `snorkel.labeling` and `snorkel.preprocess`: the decorators, resources, preprocessors with `memoize` and `pre`, and
/// `fault_tolerant`. What the module prints goes to standard error; a vote that takes too long is interrupted by an alarm, and a
/// call that no alarm reaches is ended from outside.
enum SnorkelRunner {
    static let source = #"""
        import importlib.util, json, os, pickle, signal, sys, types

        # Answers go to a copy of standard output; whatever the module prints goes to standard error.
        answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        questions = sys.stdin


        class Row(types.SimpleNamespace):
            """A data point: fields as attributes and, as in a pandas row, by key."""

            def __getitem__(self, key):
                return getattr(self, key)

            def __contains__(self, key):
                return key in self.__dict__

            def get(self, key, default=None):
                return getattr(self, key, default)

            def keys(self):
                return self.__dict__.keys()

            def __hash__(self):
                return hash(json.dumps(self.__dict__, sort_keys=True, default=str))


        def stand_in():
            """The part of snorkel that labeling functions are written with."""

            class BasePreprocessor:
                def __init__(self, name=None, memoize=False, **_):
                    self.name = name or type(self).__name__
                    self.memoize = memoize
                    self.cache = {}

                def __call__(self, x):
                    key = hash(x) if self.memoize else None
                    if key is not None and key in self.cache:
                        return self.cache[key]
                    y = x
                    for first in getattr(self, "pre", []):
                        y = first(y)
                    y = self.apply(pickle.loads(pickle.dumps(y)))
                    if key is not None:
                        self.cache[key] = y
                    return y

            class Preprocessor(BasePreprocessor):
                def __init__(self, name=None, field_names=None, mapped_field_names=None, pre=None, memoize=False, **_):
                    super().__init__(name, memoize)
                    self.field_names = field_names
                    self.mapped_field_names = mapped_field_names
                    self.pre = pre or []

                def apply(self, x):
                    names = self.field_names or {n: n for n in self.run.__code__.co_varnames[1:self.run.__code__.co_argcount]}
                    found = self.run(**{k: getattr(x, v) for k, v in names.items()})
                    if found is None:
                        return None
                    for k, v in found.items():
                        setattr(x, (self.mapped_field_names or {}).get(k, k), v)
                    return x

            class LambdaPreprocessor(BasePreprocessor):
                def __init__(self, name, f, pre=None, memoize=False, **_):
                    super().__init__(name, memoize)
                    self.f = f
                    self.pre = pre or []

                def apply(self, x):
                    return self.f(x)

            class preprocessor:
                def __init__(self, name=None, pre=None, memoize=False, memoize_key=None):
                    if callable(name):
                        raise ValueError("write @preprocessor() with brackets")
                    self.options = (name, pre, memoize)

                def __call__(self, f):
                    name, pre, memoize = self.options
                    return LambdaPreprocessor(name or f.__name__, f, pre, memoize)

            class LabelingFunction:
                def __init__(self, name, f, resources=None, pre=None):
                    self.name = name
                    self._f = f
                    self._resources = resources or {}
                    self._pre = pre or []

                def __call__(self, x):
                    for first in self._pre:
                        x = first(x)
                        if x is None:
                            raise ValueError("a preprocessor returned None")
                    return self._f(x, **self._resources)

                def __repr__(self):
                    return "LabelingFunction " + self.name

            class labeling_function:
                def __init__(self, name=None, resources=None, pre=None):
                    if callable(name):
                        raise ValueError("write @labeling_function() with brackets")
                    self.options = (name, resources, pre)

                def __call__(self, f):
                    name, resources, pre = self.options
                    return LabelingFunction(name or f.__name__, f, resources, pre)

            def module(name, **members):
                made = types.ModuleType(name)
                made.__dict__.update(members)
                sys.modules[name] = made
                return made

            core = dict(labeling_function=labeling_function, LabelingFunction=LabelingFunction)
            prep = dict(
                preprocessor=preprocessor, Preprocessor=Preprocessor, BasePreprocessor=BasePreprocessor,
                LambdaPreprocessor=LambdaPreprocessor,
            )
            top = module("snorkel", __path__=[])
            top.labeling = module("snorkel.labeling", __path__=[], **core)
            top.labeling.lf = module("snorkel.labeling.lf", __path__=[], **core)
            top.labeling.lf.core = module("snorkel.labeling.lf.core", **core)
            top.preprocess = module("snorkel.preprocess", __path__=[], **prep)
            top.preprocess.core = module("snorkel.preprocess.core", **prep)
            top.types = module("snorkel.types", DataPoint=object)
            return LabelingFunction


        def say(**fields):
            # At once: an answer must not be lost when the next call takes the process down.
            answers.write(json.dumps(fields) + "\n")
            answers.flush()


        class TooSlow(BaseException):
            pass


        def alarm(*_):
            raise TooSlow()


        signal.signal(signal.SIGALRM, alarm)
        functions = {}
        try:
            try:
                from snorkel.labeling import LabelingFunction as Kind
            except ImportError:
                Kind = stand_in()
            path = sys.argv[1]
            sys.argv = [path]
            sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
            spec = importlib.util.spec_from_file_location(os.path.splitext(os.path.basename(path))[0], path)
            loaded = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = loaded
            spec.loader.exec_module(loaded)

            def gather(value):
                if isinstance(value, Kind):
                    functions[value.name] = value
                elif isinstance(value, (list, tuple)):
                    for item in value:
                        gather(item)

            for key, value in list(vars(loaded).items()):
                gather(value)
                if isinstance(value, Kind):
                    functions.setdefault(key, value)
            say(functions=sorted(functions))
        except BaseException as error:
            say(error="%s: %s" % (type(error).__name__, error))
            sys.exit(0)

        for line in questions:
            request = json.loads(line)
            function = functions.get(request["function"])
            seconds = request["seconds"]
            for _ in range(request["count"]):
                row = Row(**json.loads(questions.readline()))
                try:
                    if function is None:
                        raise LookupError("the module has no labeling function '%s'; it has %s" % (
                            request["function"], ", ".join(sorted(functions)) or "none"))
                    signal.setitimer(signal.ITIMER_REAL, seconds)
                    try:
                        vote = function(row)
                    finally:
                        signal.setitimer(signal.ITIMER_REAL, 0)
                    say(vote=int(vote))
                except TooSlow:
                    say(error="took longer than %g s" % seconds)
                except Exception as error:
                    say(error="%s: %s" % (type(error).__name__, error))
        """#
}
