// A Restate service with three durable steps. It listens on PORT.
import * as restate from "@restatedev/restate-sdk";

// The SDK requires Node 22. On Node 20 only this function is missing.
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
