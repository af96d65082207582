// A Restate service of three durable steps; it listens on PORT.
import * as restate from "@restatedev/restate-sdk";

// The SDK is written for Node 22; this is all that it lacks on Node 20.
Promise.withResolvers ??= function () {
  let resolve, reject;
  const promise = new this((yes, no) => ([resolve, reject] = [yes, no]));
  return { promise, resolve, reject };
};

const threeSteps = restate.service({
  name: "ThreeSteps",
  handlers: {
    run: async (ctx, value) => {
      const first = await ctx.run("first", () => value + 1);
      const second = await ctx.run("second", () => first + 1);
      return await ctx.run("third", () => second + 1);
    },
  },
});

restate.serve({ services: [threeSteps], port: Number(process.env.PORT) });
